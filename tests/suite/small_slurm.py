"""A Slurm cluster of a node or two, all this machine, with all its state in one folder.

``python tests/suite/small_slurm.py FOLDER`` starts it, prints what to export, and stops it on
Ctrl-C. It needs root and the distribution's packages: ``apt-get install slurm-wlm munge``.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NODE = "NodeName={name} NodeHostname={host} NodeAddr={host} Port={port} CPUs={cpus} Gres=gpu:{gpus}"
GPUS = ("/dev/null", "/dev/zero")  # of a node, which are none: only the scheduler counts them
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")
# accounting, cgroups and plugins that need a system's services are left out
SLURM_CONF = """\
ClusterName=one
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
GresTypes=gpu
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,requeue_delay=1
ReturnToService=2
KillWait=3
MpiDefault=none
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Programs that have to be installed first, or ``["root"]``."""
    if os.geteuid() != 0:
        return ["root"]
    return [name for name in PROGRAMS if not _which(name)]


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def small_slurm(folder: Path, nodes: int = 1, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Run the cluster in `folder`; yields the environment variables its clients need.

    Raises:
        RuntimeError: it does not become ready; the message has the end of its log.
    """
    host = socket.gethostname()
    munge = folder / "munge"
    names = [f"node{number}" for number in range(1, nodes + 1)]
    for name in (munge, folder / "state", *(folder / f"spool-{name}" for name in names)):
        name.mkdir(parents=True, mode=0o755)
    for parent in [folder, *folder.parents]:  # munged runs as its own user and has to get here
        parent.chmod(parent.stat().st_mode | 0o011) if parent != Path("/") else None
    (munge / "key").write_bytes(os.urandom(128))
    (munge / "key").chmod(0o400)
    for path in (munge, munge / "key"):
        shutil.chown(path, "munge", "munge")
    conf = folder / "slurm.conf"
    lines = [SLURM_CONF.format(host=host, folder=folder, port=_free_port()).rstrip()]
    for name in names:
        port, gpus = _free_port(), len(GPUS)
        lines.append(NODE.format(name=name, host=host, port=port, cpus=cpus, gpus=gpus))
    conf.write_text("\n".join([*lines, ""]), encoding="utf-8")
    devices = "".join(f"Name=gpu File={device}\n" for device in GPUS)
    conf.with_name("gres.conf").write_text(devices, encoding="utf-8")
    environment = {"SLURM_CONF": str(conf)}
    daemons: list[subprocess.Popen[bytes]] = []
    munged = ["munged", "--foreground", f"--key-file={munge}/key", f"--socket={munge}/socket"]
    munged += [f"--pid-file={munge}/pid", f"--seed-file={munge}/seed"]
    try:
        daemons.append(_daemon(munged, folder, environment, user="munge"))
        _wait_for(lambda: (munge / "socket").exists(), folder, "munged")
        daemons.append(_daemon(["slurmctld", "-D"], folder, environment))
        for name in names:
            daemons.append(_daemon(["slurmd", "-D", "-N", name], folder, environment))
        _wait_for(lambda: _node_states(environment) == {"idle"}, folder, "slurmd")
        yield environment
    finally:
        subprocess.run(
            ["scancel", "--user=root", "--full"],
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
        )
        time.sleep(1)
        for daemon in reversed(daemons):
            _stop(daemon)


def _daemon(
    command: list[str], folder: Path, environment: dict[str, str], user: str | None = None
) -> subprocess.Popen[bytes]:
    log = (folder / f"{command[0]}.out").open("wb")
    program = _which(command[0])
    assert program is not None
    with log:
        return subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            user=user,
            start_new_session=True,
        )


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    with suppress(subprocess.TimeoutExpired):
        daemon.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()


def _node_states(environment: dict[str, str]) -> set[str]:
    command = ["sinfo", "--noheader", "--format=%t"]
    answer = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return set(answer.stdout.split())


def _wait_for(ready, folder: Path, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            logs = [path.read_text(errors="replace")[-2000:] for path in folder.glob("*.[ol]*")]
            raise RuntimeError(f"{what} is not ready after {seconds:.0f} s:\n" + "\n".join(logs))
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def main() -> None:
    """Start, tell, wait for Ctrl-C."""
    folder = Path(sys.argv[1]).absolute()
    if missing := missing_programs():
        sys.exit(f"missing: {', '.join(missing)}; as root: apt-get install slurm-wlm munge")
    with small_slurm(folder) as environment:
        for name, value in environment.items():
            print(f"export {name}={value}", flush=True)
        print("Ctrl-C stops it", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
