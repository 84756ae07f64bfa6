"""Data sets that are neither embedded nor in a folder: fetched by TFDS."""

from typing import Any

from rich import console

_ASK = ('Pass the folder of its files with --data, or set $SLSTM_DATA to the '
        'folder that holds one folder for each data set.')


def prepare(builder: Any) -> Any:
  """Downloads and prepares a data set where that has not been done.

  Args:
    builder: a TFDS builder.

  Returns:
    The builder, prepared.

  Raises:
    OSError: if it cannot be fetched; says what to do instead.
  """
  # These modules take seconds to import and are needed here alone.
  # pylint: disable=import-outside-toplevel
  from tensorflow_datasets.core.download import download_manager
  from tensorflow_datasets.core.download import util

  if not builder.is_prepared():
    console.Console(stderr=True).print(
        f'{builder.name}: no files given; fetching into {builder.data_dir}')
    try:
      builder.download_and_prepare()
    except (OSError, util.DownloadError,
            download_manager.NonMatchingChecksumError) as error:
      raise OSError(
          f'{builder.name} cannot be downloaded: {error} {_ASK}') from error
  return builder
