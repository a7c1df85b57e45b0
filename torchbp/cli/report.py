"""`torchbp report RUN`."""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torchbp import __version__
from torchbp.cli.options import new_file
from torchbp.cli.output import add_json_option, show
from torchbp.cli.run_files import Curve, RunFiles

DESCRIPTION = """\
One page of HTML about a training run, with everything in it: the last verdict, events, the gradient SNR of every layer
as a heatmap, losses, shots, settings and versions. RUN is the folder of a TensorBoard or CSV logger."""
EXAMPLE = "torchbp report runs/demo/version_0 --out report.html"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.folder, .step, .none { color: #57606a; } img { max-width: 100%; height: auto; }
.verdict { border-left: .4rem solid #0072B2; background: #f3f6f9; padding: .6rem 1rem; margin: 1rem 0; }
.verdict.bad { border-color: #D55E00; background: #fdf3ec; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top;
border-bottom: 1px solid #d8dee4; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""

_PACKAGES = ("torch", "lightning", "torchquantum", "qiskit", "numpy")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="the run's folder")
    parser.add_argument("--out", type=new_file, metavar="FILE.html", help="default: RUN/torchbp_report.html")
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    found = RunFiles.read(arguments.run)
    out = arguments.out or arguments.run / "torchbp_report.html"
    out.write_text(page(found), encoding="utf-8")
    verdict = last_verdict(found)
    values = {
        "file": str(out),
        "verdict": None if verdict is None else verdict["data"].get("verdict"),
        "events": len(found.events),
        "measurements": len(found.measurements()),
        "final_losses": {tag: curve[-1][1] for tag, curve in found.losses().items()},
    }
    show(arguments, values, f"{out}: {len(found.events)} events, {values['measurements']} measurements")
    return 0


def last_verdict(run: RunFiles) -> dict[str, Any] | None:
    """The last event that is a verdict."""
    return next((event for event in reversed(run.events) if event["kind"] == "verdict"), None)


def page(run: RunFiles) -> str:
    """The whole page; it loads nothing from anywhere."""
    title = f"Run {run.folder.name}"
    parts = [
        f"<h1>{html.escape(title)}</h1><p class=folder>{html.escape(str(run.folder))}</p>",
        _verdict(run),
        _section("Gradient SNR", _heatmap(run)),
        _section("Loss", _losses(run.losses())),
        _section("Events", _events(run.events)),
        _section("Shots", _shots(run)),
        *(_section(name, f"<pre>{html.escape(text)}</pre>") for name, text in run.settings.items()),
        _section("Versions, as this page was made", _table([(n, v) for n, v in versions().items()])),
    ]
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{html.escape(title)}</title>"
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def versions() -> dict[str, str]:
    """Of torchbp, Python and what they stand on."""
    found = {"torchbp": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{content}"


def _verdict(run: RunFiles) -> str:
    event = last_verdict(run)
    if event is None:
        return "<p class=verdict>No verdict was given: there was no PlateauDetector, or nothing to say.</p>"
    good = event["data"].get("verdict") in ("healthy", "converged")
    return (
        f"<p class='verdict{'' if good else ' bad'}'>{html.escape(event['message'])}"
        f" <span class=step>(step {event['step']:d}, the last verdict)</span></p>"
    )


def _heatmap(run: RunFiles) -> str:
    measurements = run.measurements()
    if not measurements:
        return "<p class=none>Nothing was measured.</p>"
    from torchbp.callbacks.records.heatmap import snr_heatmap

    return _image(snr_heatmap(measurements), f"Gradient SNR, source {measurements[0].source}")


def _losses(losses: dict[str, Curve]) -> str:
    if not losses:
        return "<p class=none>No loss was logged.</p>"
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (tag, curve), color in zip(losses.items(), ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False):
        steps, values = zip(*curve, strict=True)
        axes.plot(steps, values, color=color, label=tag, marker="o" if len(curve) == 1 else "")
    axes.set_xlabel("step")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _image(figure, "Loss")


def _image(figure: Any, text: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{html.escape(text)}' src='data:image/png;base64,{data}'>"


def _events(events: list[dict[str, Any]]) -> str:
    if not events:
        return "<p class=none>Nothing was announced.</p>"
    rows = "".join(
        f"<tr><td class=number>{event['step']:d}</td><td>{html.escape(event['kind'])}</td>"
        f"<td title='{html.escape(json.dumps(event['data']))}'>{html.escape(event['message'])}</td></tr>"
        for event in events
    )
    return f"<table><tr><th>step</th><th>kind</th><th>what happened</th></tr>{rows}</table>"


def _shots(run: RunFiles) -> str:
    rows = [(tag, f"{curve[-1][1]:,.0f}") for tag, curve in run.curves.items() if "shots" in tag]
    rows += [(e["kind"], e["message"]) for e in run.events if e["kind"] in ("shots", "budget")][-5:]
    return _table(rows) if rows else "<p class=none>No shots were logged.</p>"


def _table(rows: list[tuple[str, str]]) -> str:
    return (
        "<table>"
        + "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in rows)
        + "</table>"
    )
