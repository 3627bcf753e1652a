"""Train a VAE on one machine or on several: the same script, see README.md in this folder.

python notebooks/distribute/train.py --epochs 3
"""

import argparse

import keras

import aigc_keras as ak


def main(epochs=1, batch_size=128, folder="runs/distribute"):
    """Train, and go on from the last backup if there is one; the losses of each epoch."""
    keras.utils.set_random_seed(0)
    strategy = ak.distribute.strategy()
    # All processes read the same batches, of all rows together, and each takes its own rows.
    train = ak.datasets.load("fashion_mnist", split="train", batch_size=batch_size)
    with strategy.scope():
        model = ak.vae.VAE((28, 28, 1), seed=0)
        model.compile()
    history = model.fit(
        train,
        epochs=epochs,
        verbose=2,
        callbacks=[keras.callbacks.BackupAndRestore(f"{folder}/backup", save_freq=100)],
    )
    model.save(f"{folder}/vae.keras")  # one process writes
    return history.history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--batch-size", type=int, default=128, help="rows of all processes together"
    )
    parser.add_argument("--folder", default="runs/distribute", help="for backup and model")
    print(main(**vars(parser.parse_args())))
