"""A TFDS builder of the 12-class task that needs no TensorFlow.

  builder = SpeechCommands12(data_dir=..., config='archive')
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(
      manual_dir=...))
  train = read_prepared(builder)['train']

Importing this module registers the name `speech_commands12`. TFDS's own
`speech_commands` is raw audio, split otherwise, and needs TensorFlow.
"""

from collections.abc import Iterator
from pathlib import Path
import tarfile
import tempfile
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from third_party.speech_commands import archive
from third_party.speech_commands import data
from third_party.speech_commands import packed

HOMEPAGE = 'https://arxiv.org/abs/1804.03209'
ARCHIVE_URL = ('http://download.tensorflow.org/data/'
               'speech_commands_v0.02.tar.gz')
LICENSE = 'CC BY 4.0 (Google).'
_DESCRIPTION = """\
One-second recordings of English words as log-mel energy: 98 frames of 10 ms, 40
mel channels, 8 bit. Ten keywords, the other words as `_unknown_` (subsampled to
the mean count of a keyword), and background noise as `_silence_`. The split is
the official one, by speaker.
"""


class SpeechCommands12(tfds.core.GeneratorBasedBuilder):
  """The task as x uint8 [98, 40], label 0..11 and name.

  Configs:
    packed (default): the file packed.FILE in
      `tfds.download.DownloadConfig(manual_dir=...)`.
    archive: the unpacked original archive in manual_dir.
    partial: what there is of it in manual_dir; the official lists must be.
    download: the original archive, fetched from Google and unpacked. Address,
      size and checksum (checksums.tsv) are as TFDS publishes them; this path
      was tried with a local server only, never against the real one.

  Examples are ordered by class, so shuffle them for training.
  """

  # TFDS 4.9.10 looks it up with importlib_resources, which it does not install.
  code_path = Path(__file__)
  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Log-mel energy in the official split.'}
  BUILDER_CONFIGS = [
      tfds.core.BuilderConfig(name='packed',
                              description='JPEG images from manual_dir.'),
      tfds.core.BuilderConfig(name='archive',
                              description='Original WAV files in manual_dir.'),
      tfds.core.BuilderConfig(name='partial',
                              description='Some of them in manual_dir.'),
      tfds.core.BuilderConfig(name='download',
                              description='Original WAV files from Google.'),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
      f'Pass as manual_dir the folder that holds {packed.FILE} (config packed) '
      f'or into which {ARCHIVE_URL} was unpacked (config archive).')

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
                tfds.features.Tensor(shape=(data.FRAMES, data.CHANNELS),
                                     dtype=np.uint8),
            'label':
                tfds.features.ClassLabel(names=list(data.CLASSES)),
            'name':
                tfds.features.Text(),
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
    if source == 'packed':
      splits = packed.load(dl_manager.manual_dir)
    elif source == 'download':
      splits = _load_tar(Path(dl_manager.download(ARCHIVE_URL)))
    else:
      splits = archive.load(dl_manager.manual_dir, complete=source == 'archive')
    return {
        name: self._generate_examples(split) for name, split in splits.items()
    }

  def _generate_examples(
      self,
      split: data.Split,
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (row, example) in the order of the source."""
    for row, (x, label, name) in enumerate(zip(*split)):
      yield row, {'x': x, 'label': int(label), 'name': str(name)}


def read_prepared(builder: tfds.core.DatasetBuilder) -> dict[str, data.Split]:
  """Reads a prepared data set back into arrays.

  Args:
    builder: a SpeechCommands12 (or `tfds.builder_from_directory` of one),
      prepared.

  Returns:
    The three splits, bit for bit what the source of its config gave.

  Raises:
    FileNotFoundError: it is not prepared.
  """
  if not builder.is_prepared():
    raise FileNotFoundError(f'{builder.data_dir}: nothing prepared there; call '
                            'builder.download_and_prepare() first.')
  splits = {}
  for split in data.SPLITS:
    examples = list(builder.as_data_source(split=split))
    splits[split] = data.Split(
        x=np.stack([example['x'] for example in examples]),
        y=np.array([example['label'] for example in examples], np.int32),
        name=np.array([example['name'].decode() for example in examples]),
    )
  return splits


def _load_tar(path: Path) -> dict[str, data.Split]:
  """Reads the archive as distributed; TFDS needs TensorFlow to unpack it."""
  # Beside the archive, since it unpacks to 3 GB and /tmp is often small.
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    with tarfile.open(path) as tar:
      tar.extractall(folder, filter='data')
    return archive.load(folder)
