"""RecBole: its SASRec, trained by its trainer on every prefix of every history."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import torch
from program import Lists, Recommend, Settings, Task, main, take_best
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

# After how many epochs a training that goes on is looked at.
EPOCHS = (1, 2, 4, 8, 16, 32, 64, 128)
NAME = "rows"


def configure(task: Task, settings: Settings) -> Config:
    """Return RecBole's own settings for SASRec but for what the task says; all rows are training rows."""
    given = settings | {
        "data_path": str(task.folder),
        "checkpoint_dir": str(task.folder / "checkpoints"),
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"RS": [1.0]}, "group_by": "none", "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "seed": 0,
    }
    return Config(model="SASRec", dataset=NAME, config_dict=given)


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Fit for the given epochs; where none are given, look at the model after more and more of them."""
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(task.threads)
    folder = task.folder / NAME
    folder.mkdir(exist_ok=True)
    users, items = task.column("user_id"), task.column("item_id")
    lines = [f"{user}\t{item}\t{number}" for number, (user, item) in enumerate(zip(users, items, strict=True))]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / f"{NAME}.inter").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    given = dict(settings)
    wanted = given.pop("epochs", None)
    config = configure(task, given)
    init_seed(0, reproducibility=True)
    dataset = create_dataset(config)
    (rows,) = dataset.build()
    loader = TrainDataLoader(config, rows, None, shuffle=True)
    model = SASRec(config, dataset)
    trainer = Trainer(config, model)
    for epochs in EPOCHS if wanted is None else (wanted,):
        trainer.epochs = epochs
        trainer.fit(loader, saved=False, show_progress=False)
        trainer.start_epoch = epochs
        yield settings | {"epochs": epochs}, lambda: recommend(task, model, dataset, config["MAX_ITEM_LIST_LENGTH"])


def recommend(task: Task, model: SASRec, dataset: object, most: int) -> Lists:
    """Return the lists: the next item after the whole history."""
    numbers = dataset.field2token_id["item_id"]
    # Number 0 pads.
    item_ids = dataset.field2id_token["item_id"].tolist()
    histories: dict[str, list[int]] = {}
    for user, item in zip(task.column("user_id"), task.column("item_id"), strict=True):
        histories.setdefault(user, []).append(numbers[item])
    model.eval()
    lists: Lists = []
    for start in range(0, len(task.users), 512):
        users = task.users[start : start + 512]
        sequences = np.zeros((len(users), most), dtype=np.int64)
        lengths = np.zeros(len(users), dtype=np.int64)
        for row, user in enumerate(users):
            last = histories[user][-most:]
            sequences[row, : len(last)], lengths[row] = last, len(last)
        batch = Interaction({"item_id_list": torch.from_numpy(sequences), "item_length": torch.from_numpy(lengths)})
        with torch.no_grad():
            scores = model.full_sort_predict(batch).numpy().copy()
        scores[:, 0] = -np.inf
        if not task.repeats:
            for row, user in enumerate(users):
                scores[row, histories[user]] = -np.inf
        lists += take_best(scores, item_ids, task.n)
    return lists


if __name__ == "__main__":
    main({"SASRec": fit})
