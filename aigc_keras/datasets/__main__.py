"""`python -m aigc_keras.datasets` fetches and prepares all data, and says where they came from."""

import sys

from aigc_keras import datasets
from aigc_keras.datasets import fashion, films, imagenet, reviews, texts, verses


def main():
    for each in datasets.names():
        if each == "fashion_mnist":
            fashion._builder()  # says itself where it came from
        else:
            print(datasets.describe(each).splitlines()[0])
    print(datasets.describe("kjv").splitlines()[0])
    others = (verses.verses, reviews.reviews, films.movielens, imagenet.lite0)
    for prepare in (texts.tang, *others):
        try:
            prepare()  # says so, too
        except RuntimeError as error:
            print(error, file=sys.stderr)  # the other chapters go on


if __name__ == "__main__":
    main()
