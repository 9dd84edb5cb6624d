"""Names that keys and tasks share; it imports nothing."""

PRETRAIN = ('pretrain',)
LEARNING = ('pretrain', 'preflight', 'preview')  # they build the train step
CHOOSING = ('linear_eval', 'logistic', 'finetune')  # on held-out training images
MEASURING = ('knn',) + CHOOSING
TUNING = ('finetune', 'finetune_pairs')  # they train the encoder
ON_CROPS = ('linear_eval',) + TUNING
# Their results lie beside the weights, in a folder of the config's name.
BESIDE = MEASURING + ('finetune_pairs', 'retrieve', 'embed', 'index', 'export')
EVALUATING = BESIDE + ('report',)  # these take `weights`
TASKS = ('pretrain', 'preview', 'prepare', 'preflight') + EVALUATING + (
    'search', 'compare', 'study')
SHARDED = ('prepare', 'embed', 'index')  # by any number of processes
LEAVING = ('pretrain', 'study')  # they save and leave by themselves on a signal
IN_RUNS = LEARNING + ('study',)  # their workdir is runs/NAME where none is named
RULES = ('0.1', '0.2')  # of reading folders and lists, by version
STUDIES = ('batch_size', 'augmentation', 'target', 'predictor', 'methods')
