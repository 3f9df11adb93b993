"""Run a study and keep its results: the whole of ``psimg run``."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from psimg.core.errors import DataError, SettingsError
from psimg.study.config import Study
from psimg.study.outputs import check_directory, whole_directory, write_outputs
from psimg.study.reading import Progress
from psimg.study.run import CHUNK_ROWS, StudyResult, run_study


def run_and_write(
    study: Study,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> StudyResult:
    """Run a study and write its results into its output directory.

    Parameters
    ----------
    study : Study
        A checked study, from `read_study`.
    overwrite : bool
        Whether the results of an earlier run in that directory may be replaced.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.
    chunk_rows : int
        Rows read at a time; changes the memory used and nothing else.

    Returns
    -------
    StudyResult
        What was measured.

    Raises
    ------
    PsimgError
        If an input or a setting cannot be used, or the results cannot be written; nothing is left
        in the output directory then.
    """
    check_directory(study.directory, overwrite=overwrite)
    with _captured_log() as text:
        try:
            result = run_study(study, progress=progress, chunk_rows=chunk_rows)
        except (DataError, SettingsError) as error:
            # Stages know no files: say whose data or setting it is.
            if str(study.path) in str(error):
                raise
            raise type(error)(f"{study.path}: {error}") from error
        if progress is not None:
            progress("outputs", 0, 1)
        with whole_directory(study.directory, overwrite=overwrite) as beside:
            write_outputs(result, beside, log_text=text.getvalue())
        if progress is not None:
            progress("outputs", 1, 1)
    return result


@contextmanager
def _captured_log() -> Iterator[io.StringIO]:
    """Collect psimg's log; it is written with the results, whole or not at all."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("psimg")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield text
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
