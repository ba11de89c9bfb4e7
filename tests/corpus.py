"What the cases of the corpus of bad inputs are made of."
import contextlib
import io
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Bad:
    "One bad input: how it is made, and what the answer to it has to name."
    id: str  # begins with "bad"
    make: (
        Callable  # function: empty folder (Path) -> function without arguments that meets the input
    )
    says: tuple = ()  # texts that the answer contains: file, row, remedy


def by_command(command, *arguments):
    "A call of a command that has to end with a message: a function for `Bad.make` to return."
    def call():
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                code = command([str(a) for a in arguments])
            except SystemExit as stop:  # argparse
                code = stop.code
        text = said.getvalue() + out.getvalue()
        assert code in (1, 2), f"exit code {code}: {text}"
        assert "Traceback" not in text and "mistake of skin_nb" not in text, text
        return text
    return call
