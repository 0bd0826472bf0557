"""Which line of a termination message tells most."""

from __future__ import annotations

import pytest

from whisper_operator.status.termination_message import most_telling_line


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one line", "one line"),
        (
            "INFO 01-02 03:04:05 engine\nwhisper-server: DTYPE must be half or bfloat16, not x\n",
            "DTYPE must be half or bfloat16, not x",
        ),
        (
            'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nValueError: no such model\n',
            "ValueError: no such model",
        ),
        (
            (
                "(EngineCore_DP0 pid=41) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
                "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
            ),
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        ),
        ("2026-01-02T03:04:05.678+00:00 error  whisper_server.x cannot go on", "error whisper_server.x cannot go on"),
        (
            (
                '{"time": "2026-01-02T03:04:05.678+00:00", "level": "error", "logger": "x", "message": "cannot go on", '
                '"exception": "Traceback:\\n  File\\nOSError: disk full"}'
            ),
            "cannot go on OSError: disk full",
        ),
        ('{"time": "2026', '{"time": "2026'),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_most_telling_line_is_chosen(said: str, told: str) -> None:
    assert most_telling_line(said) == told


def test_most_telling_line_is_short() -> None:
    assert len(most_telling_line("word " * 1000)) <= 500
