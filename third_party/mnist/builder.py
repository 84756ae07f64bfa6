"""A TFDS builder of MNIST that needs no TensorFlow.

  builder = MnistIdx(data_dir=...)
  builder.download_and_prepare()
  train = read_prepared(builder)['train']

Importing this module registers the name, so `tfds.builder('mnist_idx')` works.
The catalogue's own `mnist` is another one and needs TensorFlow.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from third_party.mnist import data

HOMEPAGE = 'http://yann.lecun.com/exdb/mnist/'
MIRROR_URL = 'https://storage.googleapis.com/cvdf-datasets/mnist'
LICENSE = 'CC BY-SA 3.0'
_DESCRIPTION = """\
Handwritten digits, 28 x 28 pixels of 8 bits each (0 is background, 255 is ink),
in the official split of 60,000 training and 10,000 test images.
"""


class MnistIdx(tfds.core.GeneratorBasedBuilder):
  """MNIST as x uint8 [28, 28] and label 0..9.

  Configs:
    download (default): the four original files, fetched from MIRROR_URL. Their
      checksums (checksums.tsv) were compared with files at hand; the address
      was tried with a local server only.
    archive: the same files in
      `tfds.download.DownloadConfig(manual_dir=...)`, compressed or not. Only
      their structure is checked.

  Examples keep the order of the source, so shuffle them for training.
  """

  # TFDS 4.9.10 looks it up with importlib_resources, which it does not install.
  code_path = Path(__file__)
  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'The original images in the official split.'}
  BUILDER_CONFIGS = [
      tfds.core.BuilderConfig(name='download',
                              description='Original files from a mirror.'),
      tfds.core.BuilderConfig(name='archive',
                              description='Original files in manual_dir.'),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
      f'Fetch the four files of {MIRROR_URL} that README.md names and pass '
      'their folder as manual_dir.')

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
                tfds.features.Tensor(shape=(data.SIDE, data.SIDE),
                                     dtype=np.uint8),
            'label':
                tfds.features.ClassLabel(names=list(data.CLASSES)),
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
    if self.builder_config.name == 'archive':
      splits = data.load(dl_manager.manual_dir)
    else:
      paths = dl_manager.download({
          name: [f'{MIRROR_URL}/{file}.gz' for file in files]
          for name, files in data.FILES.items()
      })
      splits = {name: data.load_split(*paths[name]) for name in data.SPLITS}
    return {
        name: self._generate_examples(split) for name, split in splits.items()
    }

  def _generate_examples(
      self,
      split: data.Split,
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (row, example) in the order of the source."""
    for row, (x, label) in enumerate(zip(*split)):
      yield row, {'x': x, 'label': int(label)}


def read_prepared(builder: tfds.core.DatasetBuilder) -> dict[str, data.Split]:
  """Reads a prepared data set back into arrays.

  Args:
    builder: a MnistIdx (or `tfds.builder_from_directory` of one), prepared.

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
    )
  return splits
