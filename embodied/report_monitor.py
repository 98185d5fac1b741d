"""The report's part about the training monitor: look at what the reward likes best."""

from embodied import html
from embodied.html import Html
from embodied.metrics import Value
from embodied.run_record import RunRecord

HEADING = "Clips that the reward likes best: look at them"
OUTCOME = {True: "a success in truth", False: "a failure in truth", None: "truth unknown"}


def liked_clips(record: RunRecord) -> Html:
    """Film strips of the episodes with the highest learned return, under the monitor's alarm."""
    store = record.store("episodes")
    stored = set() if store is None else set(store.episode_ids())
    rows = [row for row in record.liked if row["episode_id"] in stored]
    alarm = html.element("p", html.badge("alarm", "bad"), f" {_sentence(record.alarm)}")
    parts = [html.element("div", alarm, class_="verdict bad")] if record.alarm else []
    if store is None or not rows:
        why = html.element("p", "The monitor has not looked at the run yet.", class_="note")
        return html.section(HEADING, *parts, why)
    camera = store.cameras[0]
    for row in rows:
        name = str(row["episode_id"])
        frames = store.read(store.index_of(name), [camera]).images[camera]
        caption = html.element("figcaption", _caption(name, row))
        parts.append(html.element("figure", html.film_strip(frames, f"frames of {name}"), caption))
    note = (
        "Whoever exploits a reward does it here first. What the monitor compares while the loop "
        "runs never includes the truth; it is added for this page."
    )
    return html.section(HEADING, *parts, note=note)


def _caption(name: str, row: dict[str, Value]) -> str:
    said = f"{name}: learned return {float(row['return'] or 0.0):.2f}, "
    if row.get("judge_evidence") is not None:
        said += f"second opinion {float(row['judge_evidence'] or 0.0):.2f}, "
    truth = row.get("true_success")
    return said + OUTCOME[None if truth is None else bool(truth)] + "."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
