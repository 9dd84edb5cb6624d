"""Names that keys and tasks share; it imports nothing."""

PRETRAIN = ('pretrain',)
LEARNING = ('pretrain', 'preflight', 'preview')  # they build the train step
CHOOSING = ('linear_eval', 'logistic', 'finetune')  # on held-out training images
MEASURING = ('knn',) + CHOOSING
# These take `weights`.
EVALUATING = MEASURING + (
    'finetune_pairs', 'retrieve', 'embed', 'index', 'export', 'report')
TASKS = ('pretrain', 'preview', 'prepare', 'preflight') + EVALUATING + (
    'search', 'compare', 'study')
SHARDED = ('prepare', 'embed', 'index')  # by any number of processes
LEAVING = ('pretrain', 'study')  # they save and leave by themselves on a signal
IN_RUNS = LEARNING + ('study',)  # their workdir is runs/NAME where none is named
RULES = ('0.1', '0.2')  # of reading folders and lists, by version
STUDIES = ('batch_size', 'augmentation', 'target', 'predictor', 'methods')
