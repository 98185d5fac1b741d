"""`embodied envs`: which environments there are, and the tasks of one."""

from rich.console import Console
from rich.table import Column, Table

from embodied import choices
from embodied.envs import catalogue


def list_envs(suite: str | None, console: Console | None = None) -> None:
    """Print the suites, or the tasks of one with their instructions.

    Raises:
        UnknownName: if there is no such suite.
    """
    console = console or Console()
    if suite is None:
        table = Table(Column("env=", no_wrap=True), "what it is", "tasks", box=None)
        counts = {name: str(len(catalogue.tasks(name))) for name in catalogue.suites()}
        for name, summary in choices.choices("env").items():
            table.add_row(name, summary, counts.get(name, ""))
    else:
        table = Table(Column("env.task=", no_wrap=True), "instruction", box=None)
        for task, instruction in catalogue.tasks(suite).items():
            table.add_row(task, instruction)
    console.print(table, soft_wrap=True, highlight=False, markup=False)
