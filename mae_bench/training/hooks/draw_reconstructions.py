"""Draw what a masked autoencoder makes of a few images when its training ends."""

from pathlib import Path

import cv2
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed.fsdp import register_fsdp_forward_method

from ...distributed import unwrap
from ...models.mae import MAE
from ...registry import HOOKS
from ...run_folder import RECONSTRUCTIONS_NAME
from ...visualize.reconstruction import draw_reconstructions, read_images


@HOOKS.register_module()
class DrawReconstructions(Hook):
    """Write ``reconstructions.png`` into the work directory after pre-training.

    Args:
        folder: pictures of the input's size are taken from here, evenly over all of them.
        count: how many, an even number.
    """

    priority = "LOW"

    def __init__(self, folder: str, count: int = 12) -> None:
        self.folder = folder
        self.count = count

    def after_train(self, runner: Runner) -> None:
        """Draw once, at the end; in all processes, as a sharded model runs in all only."""
        paths = sorted(p for p in Path(self.folder).rglob("*") if p.is_file())
        chosen = paths[:: max(1, len(paths) // self.count)][: self.count]
        model = unwrap(runner.model).eval()
        assert isinstance(model, MAE), f"{type(model).__name__} reconstructs nothing"
        register_fsdp_forward_method(model, "reconstruct")  # nothing to do for another model
        picture = draw_reconstructions(model, read_images(chosen))
        if is_main_process():
            cv2.imwrite(str(Path(runner.work_dir, RECONSTRUCTIONS_NAME)), picture)
