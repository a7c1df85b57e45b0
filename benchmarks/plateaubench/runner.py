"""Runs of scenarios under a detector, as lines of JSON; what is there already is not run again."""

from __future__ import annotations

import json
import math
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks.plateaubench.detectors import DETECTORS, first_alarm
from benchmarks.plateaubench.record import fit, goal
from benchmarks.plateaubench.scenarios import scenarios_of


@dataclass(frozen=True)
class Job:
    half: str
    scenario: str
    seed: int
    detector: str


class EndOfInterest(L.Callback):
    """Ends a run once its verdict is known."""

    def __init__(self, alarmed: Callable[[], bool]) -> None:
        self.alarmed = alarmed

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.should_stop or self.alarmed()


def execute(job: Job) -> dict[str, Any]:
    """One run and what was said of it; an exception becomes its "error"."""
    torch.set_num_threads(1)
    started, result = time.perf_counter(), asdict(job)
    try:
        task = next(s for s in scenarios_of(job.half) if s.name == job.scenario).task(job.seed)
        detector = DETECTORS[job.detector]()
        watch = [] if detector.acts else [EndOfInterest(lambda: first_alarm(detector.log()) is not None)]
        trainer = fit(task, [*detector.callbacks, *watch])
        result |= {"log": [asdict(entry) for entry in detector.log()], "deeds": detector.deeds()}
        result |= {"steps": trainer.global_step}
        if detector.acts:
            end = goal(task)
            result |= {"end": end if math.isfinite(end) else None}
    except Exception:
        result |= {"error": traceback.format_exc(limit=-4)}
    return result | {"seconds": round(time.perf_counter() - started, 3)}


def key(result: dict[str, Any]) -> tuple[str, str, int, str]:
    return result["half"], result["scenario"], result["seed"], result["detector"]


def read(path: Path) -> list[dict[str, Any]]:
    """The results of a file, the last of each run; a line cut short by a crash is skipped."""
    found: dict[Any, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            result = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[key(result)] = result
    return list(found.values())


def run(jobs: Iterable[Job], path: Path, processes: int = 1, ray: bool = False) -> list[dict[str, Any]]:
    """Results of all jobs, those of the file included; runs that failed are tried again."""
    done = {key(result) for result in read(path) if "error" not in result}
    left = [job for job in jobs if (job.half, job.scenario, job.seed, job.detector) not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for number, result in enumerate(_everywhere(left, processes, ray), start=1):
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(f"{number:5}/{len(left)}  {line(result)}", flush=True)
    return read(path)


def line(result: dict[str, Any]) -> str:
    name = f"{result['scenario']:22} {result['seed']:4}  {result['seconds']:6.1f} s"
    if "error" in result:
        return f"{name}  failed: {result['error'].strip().splitlines()[-1][:90]}"
    said = "  ".join(f"{entry['step']}:{entry['verdict']}" for entry in result["log"]) or "-"
    return f"{name}  {said}  {' '.join(f'{step}:{deed}' for step, deed in result['deeds'])}"


def _everywhere(jobs: list[Job], processes: int, ray: bool) -> Iterator[dict[str, Any]]:
    if ray:
        return _on_ray(jobs)
    return map(execute, jobs) if processes == 1 else _in_processes(jobs, processes)


def _in_processes(jobs: list[Job], processes: int) -> Iterator[dict[str, Any]]:
    """A process that dies breaks its whole pool: those left are then run one to a pool, and the culprit is named."""
    context = multiprocessing.get_context("spawn")
    left = dict.fromkeys(jobs)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = {pool.submit(execute, job): job for job in jobs}
        for future in as_completed(futures):
            try:
                result = future.result()
            except BrokenProcessPool:
                continue
            del left[futures[future]]
            yield result
    for job in left:
        with ProcessPoolExecutor(1, mp_context=context) as alone:
            try:
                yield alone.submit(execute, job).result()
            except BrokenProcessPool:
                yield asdict(job) | {"error": "the process died", "seconds": 0.0}


def _on_ray(jobs: list[Job]) -> Iterator[dict[str, Any]]:
    try:
        import ray
    except ImportError as error:
        raise SystemExit("--ray needs Ray: pip install 'torchbp[ray]'.") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    remote = ray.remote(num_cpus=1, max_retries=1)(execute)
    waiting = {remote.remote(job): job for job in jobs}
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        job = waiting.pop(ready)
        try:
            yield ray.get(ready)
        except ray.exceptions.RayError as error:
            yield asdict(job) | {"error": str(error), "seconds": 0.0}
