"""Pictures of a run for the loggers that it has."""

import numpy as np
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend


def send_picture(runner: Runner, name: str, picture: np.ndarray) -> None:
    """Send a picture (H, W, 3), uint8 RGB, to TensorBoard and the like; files are written apart."""
    for backend in runner.visualizer._vis_backends.values():
        if not isinstance(backend, LocalVisBackend):
            backend.add_image(name, np.ascontiguousarray(picture), step=runner.iter)
