"""Run train.py of this folder in several workers of Ray Train.

pip install "ray[train]"
python notebooks/distribute/ray_train.py --workers 2
"""

import argparse
import sys
from pathlib import Path

import ray.train
from ray.train.tensorflow import TensorflowTrainer

ROOT = Path(__file__).resolve().parents[2]


def work(config):
    """One worker; Ray has set TF_CONFIG."""
    sys.path.insert(0, str(ROOT / "notebooks/distribute"))
    from train import main

    main(**config)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--folder", default=str(ROOT / "runs/distribute"))
    options = vars(parser.parse_args())
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    trainer = TensorflowTrainer(
        work,
        scaling_config=ray.train.ScalingConfig(num_workers=options.pop("workers")),
        run_config=ray.train.RunConfig(storage_path=f"{options['folder']}/ray"),
        train_loop_config=options,
    )
    trainer.fit()
