"""The keys of search, and of learning from what people click."""

from __future__ import annotations

from byol_jax.config import key
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import COUNT
from byol_jax.config.kinds import FACTOR
from byol_jax.config.kinds import FEW
from byol_jax.config.kinds import flag
from byol_jax.config.kinds import list_of
from byol_jax.config.kinds import number
from byol_jax.config.kinds import path
from byol_jax.config.kinds import POSITIVE
from byol_jax.config.kinds import share
from byol_jax.config.kinds import text
from byol_jax.config.kinds import whole

SECTIONS = key.Sections()
_add = SECTIONS.add

_PAIRS = ('finetune_pairs',)
_add(
    'pairs: learning from what people click (docs/pairs.md)', _PAIRS, free=_PAIRS,
    path=('', path(), 'pairs, or an event log: .csv, .tsv, .parquet; empty: made ones'),
    items=('', path(), 'the images of each item, a table of item and image; empty: '
           'images are items'))
_add(
    'pairs', _PAIRS,
    made=(8000, POSITIVE, 'pairs that are made of the labels, without pairs.path'),
    noise=(0.3, share(), 'share of the made pairs whose positive is of any class'),
    window_minutes=(30.0, number(above=0), 'longest time between two events of a pair'),
    window_events=(5, FEW, 'how many events later the second one may be'),
    click_weight=(1.0, FACTOR, 'weight of a pair of clicks or views'),
    cart_weight=(2.0, number(at_least=0, at_most=1000), 'of one put into the cart'),
    purchase_weight=(4.0, number(at_least=0, at_most=1000), 'of one that was bought'),
    most_events=(50, POSITIVE, "a session with more is a program's: dropped"),
    least_count=(1, POSITIVE, 'times that a pair must have been seen'),
    most_of_item=(200, COUNT, 'most pairs of an item, the heaviest first; 0: all'),
    duplicates=(0.98, number(above=0, at_most=1), 'cosine from which two images are '
                'one product, features standardized; 1: equal bytes only'),
    test=(0.2, number(at_least=0, at_most=0.9), 'share of the items, and of the time, '
          'whose pairs test'),
    holdout=(0.2, number(above=0, below=1), 'of the other items, whose pairs choose'),
    popularity=(True, flag(), 'whether popular items count less as negatives'),
    train=('head', choice('head', 'encoder', 'scratch'), 'what learns: a linear head, '
           'the encoder behind one, or both from random weights'),
    dimensions=(0, whole(at_least=0, at_most=2**16), "outputs of the head; 0: the "
                "encoder's, at most 512"),
    temperatures=((0.1, 0.3, 0.5), list_of(), 'of similarities, to choose from'),
    learn_temperature=(False, flag(), 'whether it learns on, from these'),
    learning_rates=((0.1, 0.3), list_of(), "the head's, to choose from"),
    epochs=(30.0, number(above=0), "passes of the head's training over the pairs"),
    batch_size=(128, whole(above=1, at_most=2**16), 'pairs a step, of all devices; '
                'fewer where there are fewer'),
    encoder_rates=((0.1, 0.03), list_of(), "the encoder's rates, to choose from"),
    encoder_rate=(0.1, number(above=0, at_most=1000), "each of them / the head's"),
    encoder_epochs=(6.0, number(above=0), "passes of the encoder's training"),
    byol_weight=(0.0, number(at_least=0, at_most=1000), "of BYOL's loss on the same "
                 "images beside that of the pairs, with pairs.train=encoder"),
    statistics=('auto', choice('auto', 'frozen', 'batch'), 'what batch normalization '
                'uses meanwhile; auto: frozen, from scratch batch'))
_add(
    'retrieve: how good is a search for what looks alike? (docs/retrieval.md)',
    ('retrieve',),
    gallery=('test', text(), 'the part that is searched'),
    queries=('', text(), 'the part that is asked about; empty: each image of the '
             'gallery against all others'),
    queries_path=('', path(), 'data.path of the queries, where it is another one'),
    product=('', text(), 'with source=list: the column whose value is the same for '
             'relevant images; empty: the label'),
    pairs=('', path(), 'a CSV or Parquet file of query,item[,weight] that says what is '
           'relevant, in place of labels'),
    recall_at=((1, 5, 10, 100), list_of(), 'numbers K of Recall@K'),
    duplicate=(0.98, number(at_least=-1, at_most=1), 'cosine from which a query counts '
               'as a near-duplicate of an image'))
_add(
    'index: a catalogue to search in (docs/retrieval.md)', ('index',),
    split=('train', text(), 'the part to put into it'),
    dtype=('float32', choice('float32', 'float16'), 'of the vectors'),
    thumbnail=(128, whole(at_least=16, at_most=1024), 'longer side, pixels'),
    approximate_from=(50_000, POSITIVE, 'images from which a search is approximate'))
_add(
    'search: what looks like this? (docs/retrieval.md)', ('search',),
    index=('', path(), 'the workdir of task=index, or that of task=embed'),
    query=('', path(), 'a picture, a folder of pictures, or the name of an image in '
           'the index'),
    k=(10, whole(above=0, at_most=1000), 'images to find for each'),
    where=('', text(), 'a condition on columns of the index, as in "price < 50"'))
