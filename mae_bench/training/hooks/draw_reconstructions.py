"""Draw what a masked autoencoder makes of a few images when its training ends."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed.fsdp import register_fsdp_forward_method

from ...distributed import same_everywhere, unwrap
from ...files import write_atomic
from ...models.mae import MAE
from ...registry import HOOKS
from ...run_folder import RECONSTRUCTIONS_NAME
from ...visualize.picture_page import encode_png
from ...visualize.reconstruction import draw_reconstructions, read_images
from .send_picture import send_picture


@HOOKS.register_module()
class DrawReconstructions(Hook):
    """Write ``reconstructions.png`` into the work directory after pre-training.

    A drawing that fails is a warning: what was trained does not depend on it.

    Args:
        folder: pictures of the input's size are taken from here, evenly over all of them.
        count: how many, an even number.

    Raises:
        ValueError: before training, where there is nothing to draw, or no way to.
    """

    priority = "LOW"

    def __init__(self, folder: str, count: int = 12) -> None:
        self.folder = folder
        self.count = count

    def before_train(self, runner: Runner) -> None:
        """Look at the pictures and the model now, not after days."""
        same_everywhere(lambda: self._check(unwrap(runner.model)))

    def _check(self, model: Any) -> None:
        where = f"DrawReconstructions(folder={self.folder!r})"
        fix = "correct it, or take the hook out of custom_hooks"
        if not isinstance(model, MAE):
            raise ValueError(f"{where}: {type(model).__name__} reconstructs nothing; {fix}")
        channels = model.data_preprocessor.mean.numel()
        if channels != 3:
            raise ValueError(f"{where}: draws RGB, and the model has {channels} channels; {fix}")
        chosen = self.chosen()
        if len(chosen) < 2:
            raise ValueError(f"{where}: holds {len(chosen)} files, and two make a row; {fix}")
        size, side = read_images(chosen).shape[2:], model.backbone.patch_size
        if size[0] % side or size[1] % side:
            raise ValueError(
                f"{where}: pictures of {size[1]}x{size[0]} pixels are no whole patches of {side}; "
                f"{fix}"
            )

    def chosen(self) -> list[Path]:
        """The pictures that are drawn."""
        paths = sorted(p for p in Path(self.folder).rglob("*") if p.is_file())
        return paths[:: max(1, len(paths) // self.count)][: self.count]

    def after_train(self, runner: Runner) -> None:
        """Draw once, at the end."""
        try:
            self.draw(runner)
        except Exception as error:  # whatever it is, the model is as good
            runner.logger.warning(f"reconstructions are not drawn: {error}")

    def draw(self, runner: Runner) -> None:
        """Draw in all processes, as a sharded model runs in all only."""
        model = unwrap(runner.model).eval()
        register_fsdp_forward_method(model, "reconstruct")  # nothing to do for another model
        picture = draw_reconstructions(model, read_images(self.chosen()))
        if is_main_process():
            path = Path(runner.work_dir, RECONSTRUCTIONS_NAME)
            write_atomic(encode_png(picture[..., ::-1]), path)
            send_picture(runner, path.stem, picture[..., ::-1])
