"""Self-contained pages: one file, no request to anywhere, readable on a phone.

Text is escaped unless it is `Html`; images, figures and videos are data URIs.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import av
import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

INK, MUTED, GRID = "#1f2328", "#57606a", "#d8dee4"
GOOD, BAD, UNSURE, ACCENT, SECOND = "#1a7f37", "#c62828", "#9a6700", "#0b5cad", "#8250df"
"""Colours shared by pages and figures: dark enough for text on white."""


class Html(str):
    """Markup that is already safe to put on a page."""


def text(value: object) -> Html:
    """Escape anything but `Html`."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """``<tag ...>children</tag>``; ``class_`` loses its underscore, None is left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{written}>{''.join(map(text, children))}</{tag}>")


def join(parts: Iterable[object]) -> Html:
    """Parts one after the other."""
    return Html("\n".join(map(text, parts)))


def page(title: str, *sections: object) -> str:
    """A whole document around the sections."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light">'
        '<link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>\n{join(sections)}\n</main></body></html>\n"
    )


def section(heading: str, *children: object, note: str = "") -> Html:
    """A headed part of a page; ``note`` explains it in one or two sentences."""
    return element(
        "section",
        element("h2", heading),
        element("p", note, class_="note") if note else Html(""),
        *children,
    )


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Sequence[int] = (),
    caption: str = "",
) -> Html:
    """A table that scrolls sideways on a narrow screen; ``numeric`` columns are right-aligned."""
    sides = ["number" if i in numeric else None for i in range(len(columns))]
    head = element("tr", *(element("th", c, class_=s) for c, s in zip(columns, sides, strict=True)))
    body = [
        element("tr", *(element("td", c, class_=s) for c, s in zip(row, sides, strict=True)))
        for row in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else Html(""),
            element("thead", head),
            element("tbody", *body),
        ),
        class_="scroll",
    )


def badge(label: str, kind: str) -> Html:
    """A coloured word; ``kind`` is ``good``, ``bad``, ``unsure`` or ``plain``."""
    return element("span", label, class_=f"badge {kind}")


def tiles(values: Iterable[tuple[str, str]]) -> Html:
    """The few numbers that matter most, large: pairs of label and value."""
    cells = (
        element("div", element("b", value), element("span", label), class_="tile")
        for label, value in values
    )
    return element("div", *cells, class_="tiles")


def details(summary: str, *children: object) -> Html:
    """Children that are folded away until asked for."""
    return element("details", element("summary", summary), *children)


def data_uri(content: bytes, mime: str) -> str:
    """Content as a URI that needs no request."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def figure(drawing: Figure, alt: str, *, caption: str = "") -> Html:
    """A matplotlib figure as SVG; ``alt`` says in words what it shows."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "embodied"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return _figure(_img(data_uri(buffer.getvalue(), "image/svg+xml"), alt), caption)


def picture(
    frame: UInt8[np.ndarray, "height width 3"], alt: str, *, caption: str = "", zoom: int = 1
) -> Html:
    """One frame as PNG, each pixel drawn ``zoom`` times as large."""
    return _figure(_img(data_uri(_png(frame), "image/png"), alt, zoom * frame.shape[1]), caption)


def film_strip(
    frames: UInt8[np.ndarray, "time height width 3"], alt: str, *, columns: int = 10
) -> Html:
    """Evenly spaced frames side by side, the first and the last among them."""
    return _img(data_uri(_png(film(frames, columns)), "image/png"), alt, class_="film")


def film(
    frames: UInt8[np.ndarray, "time height width 3"], columns: int = 10
) -> UInt8[np.ndarray, "height wide 3"]:
    """The picture behind `film_strip`: frames with a white gap between them."""
    chosen = np.linspace(0, len(frames) - 1, columns).round().astype(int)
    gap = max(1, frames.shape[2] // 24)
    padded = np.pad(frames[chosen], ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.asarray(np.concatenate(list(padded), axis=1)[:, :-gap])


def video(
    frames: UInt8[np.ndarray, "time height width 3"],
    fps: float,
    *,
    caption: str = "",
    poster: UInt8[np.ndarray, "height width 3"] | None = None,
) -> Html:
    """A small muted, looping MP4 inside the page; odd sizes are cropped by one pixel."""
    markup = element(
        "video",
        src=data_uri(_mp4(frames, fps), "video/mp4"),
        poster=None if poster is None else data_uri(_png(poster), "image/png"),
        controls="", autoplay="", loop="", muted="", playsinline="",
    )  # fmt: skip
    return _figure(markup, caption)


def side_by_side(*children: object) -> Html:
    """Children in a row, wrapping on a narrow screen."""
    return element("div", *children, class_="row")


def _figure(content: Html, caption: str) -> Html:
    return element("figure", content, element("figcaption", caption) if caption else Html(""))


def _img(uri: str, alt: str, width: int | None = None, class_: str | None = None) -> Html:
    style = None if width is None else f"width:{width}px"
    return Html(element("img", src=uri, alt=alt, style=style, class_=class_).removesuffix("</img>"))


def _png(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _mp4(frames: UInt8[np.ndarray, "time height width 3"], fps: float) -> bytes:
    height, width = (size - size % 2 for size in frames.shape[1:3])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "26", "preset": "veryfast"}
        for frame in frames[:, :height, :width]:
            picture_ = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture_))
        container.mux(stream.encode())
    return buffer.getvalue()


STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #fff; color: {INK}; overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
main {{ max-width: 62rem; margin: 0 auto; padding: 1.2rem 1rem 3rem; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: .2rem 0 .6rem; }}
h2 {{ font-size: 1.2rem; margin: 0 0 .3rem; }}
h3 {{ font-size: 1rem; margin: 1rem 0 .2rem; }}
section {{ margin-top: 2.2rem; }}
.note, figcaption, caption {{ color: {MUTED}; font-size: .9rem; text-align: left; }}
.note {{ margin: 0 0 .8rem; max-width: 46rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: .92rem; overflow-wrap: normal; }}
th, td {{ text-align: left; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid {GRID};
  vertical-align: top; }}
th {{ font-weight: 600; color: {MUTED}; font-size: .85rem; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.named {{ min-width: 10rem; }}
td .note {{ margin: 0; }}
.named .note {{ margin: 0; font-size: .82rem; }}
.verdict + .note {{ margin-top: .8rem; }}
.badge {{ display: inline-block; padding: 0 .5rem; border-radius: 1rem; font-size: .85rem;
  font-weight: 600; white-space: nowrap; color: {MUTED}; background: #eef1f4; }}
.good {{ color: {GOOD}; background: #e6f4ea; }}
.bad {{ color: {BAD}; background: #fdeaea; }}
.unsure {{ color: {UNSURE}; background: #fff4d6; }}
.verdict {{ border-left: .4rem solid {MUTED}; border-radius: .3rem; padding: .8rem 1rem;
  color: {INK}; background: #f6f8fa; }}
.verdict.good {{ border-color: {GOOD}; background: #f0f9f2; }}
.verdict.bad {{ border-color: {BAD}; background: #fdf3f3; }}
.verdict.unsure {{ border-color: {UNSURE}; background: #fffaec; }}
.verdict p {{ margin: .3rem 0; }}
.verdict ul {{ margin: .3rem 0; padding-left: 1.2rem; }}
.tiles {{ display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }}
.tile {{ flex: 1 1 8rem; border: 1px solid {GRID}; border-radius: .5rem; padding: .5rem .8rem; }}
.tile b {{ display: block; font-size: 1.3rem; }}
.tile span {{ color: {MUTED}; font-size: .85rem; }}
.row {{ display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }}
.row > * {{ min-width: 0; }}
figure {{ margin: .6rem 0; }}
img, video {{ max-width: 100%; height: auto; display: block; }}
figure > img {{ width: 100%; }}
img.film {{ width: 100%; border-radius: .2rem; }}
details {{ margin: .6rem 0; }}
summary {{ cursor: pointer; color: {ACCENT}; }}
code, pre {{ font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }}
pre {{ white-space: pre-wrap; background: #f6f8fa; padding: .7rem; border-radius: .4rem; }}
"""
