"""A TFDS builder of UCI HAR that needs no TensorFlow.

  builder = UciHar(data_dir=...)
  builder.download_and_prepare()
  train = read_prepared(builder)['train']

Importing this module registers the name, so `tfds.builder('uci_har')` works.
"""

from collections.abc import Iterator
from pathlib import Path
import tempfile
from typing import Any
import zipfile

import numpy as np
import tensorflow_datasets as tfds

from third_party.uci_har import data

HOMEPAGE = ('https://archive.ics.uci.edu/dataset/240/'
            'human+activity+recognition+using+smartphones')
ARCHIVE_URL = ('https://archive.ics.uci.edu/static/public/240/'
               'human+activity+recognition+using+smartphones.zip')
LICENSE = ('CC BY 4.0 (UCI Machine Learning Repository). The README.txt of the '
           'archive asks for the citation and prohibits commercial use.')
_DESCRIPTION = """\
Windows of 128 samples (2.56 s at 50 Hz) of body acceleration, angular velocity
and total acceleration, from a smartphone on the waist of 30 people in six
activities. The split is the official one, by subject. Consecutive windows of a
recording overlap by half.
"""


class UciHar(tfds.core.GeneratorBasedBuilder):
  """UCI HAR as x float32 [128, 9], label 0..5 and subject 1..30.

  Configs:
    embedded (default): the file of this package; x within
      data.ROUNDING_BOUND of the original.
    archive: the original text files in
      `tfds.download.DownloadConfig(manual_dir=...)`.
    download: the same, fetched from the UCI repository. The address and the
      checksum (checksums.tsv) are as published by others; this path was
      tried with a local server only, never against the real one.

  Examples keep the order of the source, so shuffle them for training.
  """

  # TFDS 4.9.10 looks it up with importlib_resources, which it does not install.
  code_path = Path(__file__)
  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Inertial windows in the official split.'}
  BUILDER_CONFIGS = [
      tfds.core.BuilderConfig(name='embedded',
                              description='Quantised, from this package.'),
      tfds.core.BuilderConfig(name='archive',
                              description='Original text files in manual_dir.'),
      tfds.core.BuilderConfig(name='download',
                              description='Original text files from UCI.'),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
      f'Fetch {ARCHIVE_URL}, unzip it and the zip file inside it, and pass the '
      'folder that holds "UCI HAR Dataset" as manual_dir.')

  def __init__(self, *, file_format: str = 'array_record', **kwargs: Any):
    """Chooses the records that can be written without TensorFlow.

    Args:
      file_format: of the records.
      **kwargs: data_dir, config and version, as for any TFDS builder.
    """
    super().__init__(file_format=file_format, **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    """Returns features and provenance."""
    return tfds.core.DatasetInfo(
        builder=self,
        description=_DESCRIPTION,
        features=tfds.features.FeaturesDict({
            'x':
                tfds.features.Tensor(shape=(data.WINDOW, len(data.CHANNELS)),
                                     dtype=np.float32),
            'label':
                tfds.features.ClassLabel(names=list(data.CLASSES)),
            'subject':
                tfds.features.Tensor(shape=(), dtype=np.int32),
        }),
        supervised_keys=('x', 'label'),
        disable_shuffling=True,
        homepage=HOMEPAGE,
        citation=Path(__file__).with_name('CITATION.bib').read_text('utf-8'),
        license=LICENSE,
    )

  def _split_generators(
      self,
      dl_manager: tfds.download.DownloadManager,
  ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    """Reads the source of the chosen config."""
    source = self.builder_config.name
    if source == 'embedded':
      splits = data.load_embedded()
    elif source == 'archive':
      splits = data.load_archive(dl_manager.manual_dir)
    else:
      splits = _load_zip(Path(dl_manager.download(ARCHIVE_URL)))
    return {
        name: self._generate_examples(split) for name, split in splits.items()
    }

  def _generate_examples(
      self,
      split: data.Split,
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (row, example) in the order of the source."""
    for row, (x, label, subject) in enumerate(zip(*split)):
      yield row, {'x': x, 'label': int(label), 'subject': subject}


def read_prepared(builder: tfds.core.DatasetBuilder,) -> dict[str, data.Split]:
  """Reads a prepared data set back into arrays.

  Args:
    builder: a UciHar (or `tfds.builder_from_directory` of one), prepared.

  Returns:
    'train' and 'test', bit for bit what the source of its config gave.

  Raises:
    FileNotFoundError: it is not prepared.
  """
  if not builder.is_prepared():
    raise FileNotFoundError(f'{builder.data_dir}: nothing prepared there; call '
                            'builder.download_and_prepare() first.')
  splits = {}
  for name in data.SPLITS:
    examples = list(builder.as_data_source(split=name))
    splits[name] = data.Split(
        x=np.stack([example['x'] for example in examples]),
        y=np.array([example['label'] for example in examples], np.int32),
        subject=np.array([example['subject'] for example in examples],
                         np.int32),
    )
  return splits


def _load_zip(path: Path) -> dict[str, data.Split]:
  """Reads the archive as distributed: a zip file inside a zip file."""
  with tempfile.TemporaryDirectory() as folder:
    with zipfile.ZipFile(path) as outer:
      outer.extractall(folder)
    inner = Path(folder) / 'UCI HAR Dataset.zip'
    if inner.is_file():
      with zipfile.ZipFile(inner) as archive:
        archive.extractall(folder)
    return data.load_archive(folder)
