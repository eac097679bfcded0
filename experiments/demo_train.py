"""The whole path on this machine: worlds, autoencoder, latents, transformer, report and page.

Command:   make demo-train, or python -m experiments.demo_train [--output=runs/small]
Hardware:  2 CPU cores, 6 GB of memory.

Each stage is a `sora-jax` command that anyone can type. Finished stages are kept, so a second call
goes on where the first one stopped.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time

from absl import app, flags
from etils import epath

from sora_jax.files import write_whole
from sora_jax.progress import peak_memory_gib
from sora_jax.provenance import commit

OUTPUT = flags.DEFINE_string("output", "runs/small", "Folder of the demo.")
DEBUG = flags.DEFINE_bool("debug", False, "Tiny settings that run in a minute and show nothing.")

CLIPS = "ballistics:600,builder:250,eater:250,occlusion:250,orbit:250,painter:250,phyworld:250"
CLIPS += ",shatter:250"
DEBUG_CLIPS = "ballistics:20,phyworld:20"


def commands(folder: str, debug: bool) -> dict[str, list[str]]:
    """The arguments of `sora-jax` by stage."""
    mode = ":debug" if debug else ""
    experiments = epath.Path(__file__).parent
    data, latents, vae, dit = (f"{folder}/{name}" for name in ("data", "latents", "vae", "dit"))
    return {
        "worlds": [
            "worlds",
            f"--output={data}",
            f"--clips={DEBUG_CLIPS if debug else CLIPS}",
        ],
        "vae": [
            "train",
            f"--config={experiments / 'demo_vae.py'}{mode}",
            f"--config.data={data}",
            f"--workdir={vae}",
        ],
        "encode": [
            "encode",
            f"--vae={vae}",
            f"--data={data}",
            f"--output={latents}",
        ],
        "dit": [
            "train",
            f"--config={experiments / 'demo_dit.py'}{mode}",
            f"--config.data={latents}",
            f"--workdir={dit}",
        ],
        "report": ["report", f"--checkpoint={dit}", f"--output={folder}"]
        + (["--num_clips=2"] if debug else []),
    }


def run_stage(arguments: list[str]) -> tuple[int, float, float]:
    """Runs one command; returns its exit status, its seconds and its peak memory in GiB."""
    began = time.monotonic()
    print(f"\n$ sora-jax {shlex.join(arguments)}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", "sora_jax.main", *arguments])
    while True:
        try:
            _, status, usage = os.wait4(process.pid, 0)
            break
        except KeyboardInterrupt:  # the stage got it too, and ends
            continue
    code = os.waitstatus_to_exitcode(status)
    return code, time.monotonic() - began, peak_memory_gib(usage)


def settings(name: str, debug: bool) -> str:
    """A hash of what a stage is told: its flags, and the text of its experiment file."""
    text = json.dumps(commands("", debug)[name])
    file = epath.Path(__file__).with_name(f"demo_{name}.py")
    text = text.replace(str(file), file.name) + (file.read_text() if file.exists() else "")
    return hashlib.sha256(text.encode()).hexdigest()


def main(_) -> None:
    """Runs what is not finished, then says what to look at."""
    folder = epath.Path(OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "stages.json"
    stages = json.loads(record.read_text()) if record.exists() else {}
    for name, arguments in commands(OUTPUT.value, DEBUG.value).items():
        known, wanted = stages.get(name, {}), settings(name, DEBUG.value)
        if known.get("settings", wanted) != wanted:
            sys.exit(f"{folder} holds {name} with other settings: give another --output")
        if known.get("finished"):
            print(f"{name}: finished in an earlier call", flush=True)
            continue
        code, seconds, peak = run_stage(arguments)
        if not known.get("finished", True):  # it went on from a call that was stopped
            seconds += known["seconds"]
            peak = max(peak, known["peak_rss_gb"])
        stages[name] = {
            "seconds": round(seconds, 1),
            "peak_rss_gb": round(peak, 2),
            "commit": commit(),
            "settings": wanted,
            "finished": code == 0,
        }
        write_whole(record, json.dumps(stages, indent=1))
        if code:
            print(f"{name} did not finish; the same command goes on from here", file=sys.stderr)
            sys.exit(code if code > 0 else 128 - code)
    report = json.loads((folder / "report.json").read_text())
    report["seconds"]["report"] = stages["report"]["seconds"]  # with its start and the page
    write_whole(folder / "report.json", json.dumps(report, indent=1) + "\n")
    minutes = sum(report["seconds"].values()) / 60
    print(
        f"\nDone: {minutes:.1f} minutes of work. Look at {folder / 'index.html'} in a browser; "
        f"the numbers are in {folder / 'report.json'}.\nTry next:\n"
        f"  {epath.Path(sys.executable).parent / 'sora-jax'} sample --checkpoint={folder}/dit "
        '--prompt="a red ball rolls behind a blue wall" --frames=17 --height=64 --width=96 '
        "--output=ball.mp4"
    )


if __name__ == "__main__":
    app.run(main)
