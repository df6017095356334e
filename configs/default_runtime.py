"""What every run does besides its task: log, save, report, record."""

from mmengine.hooks import DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.visualization import LocalVisBackend, Visualizer

from mae_bench.training.hooks import (
    ProgressFile,
    RunCard,
    SaveCheckpoint,
    StopOnNonFiniteLoss,
    WriteRecord,
)

default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, interval=50),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=SaveCheckpoint, interval=1),
    non_finite=dict(type=StopOnNonFiniteLoss),
    sampler_seed=dict(type=DistSamplerSeedHook),
    run_card=dict(type=RunCard),
    progress=dict(type=ProgressFile),
    record=dict(type=WriteRecord),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
randomness = dict(seed=0)
log_level = "INFO"
log_processor = dict(window_size=50)
visualizer = dict(type=Visualizer, vis_backends=[dict(type=LocalVisBackend)])
load_from = None
resume = False
