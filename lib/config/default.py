"""THE configuration tree: every key there is, with its default, meaning, choices and unit.

A section named after a registered component holds that component's options and reaches its constructor as lower-case
keyword arguments: ``LOSS.LDAMLoss.MAX_MARGIN`` is ``LDAMLoss(..., max_margin=...)``. The range of an option is declared at it,
others are in ranges.py and validate.py, keys that are paths in paths.py.
"""
from lib.config.node import Config as Node

TREE = Node()
TREE.NAME = "default"                 # name of the run; its files are in OUTPUT_DIR/NAME. Stacked files that set none add theirs
TREE.OUTPUT_DIR = "./output"          # folder of all runs; {OUTPUT_DIR} in other texts is this one
TREE.AUTO = False                     # what is 0, [0, 0] or auto (configs/own) is chosen once the data has been seen
TREE.SEED = 42                        # of everything random but the subset (DATASET.IMBALANCECIFAR.RANDOM_SEED)
TREE.DETERMINISTIC = True             # deterministic CUDA kernels only; False lets cuDNN search for the fastest ones
TREE.VALID_STEP = 5                   # epochs from one validation to the next; the last epoch is always validated
TREE.SAVE_STEP = 5                    # epochs from one epoch_N.pth to the next; last.pth is written every epoch
TREE.SHOW_STEP = 20                   # batches from one progress line to the next
TREE.PIN_MEMORY = True                # page-locked host memory for batches that go to a GPU
TREE.INPUT_SIZE = [224, 224]          # height, width of what the network sees, in pixels
TREE.COLOR_SPACE = "RGB"              # RGB | BGR, order of the channels
TREE.RESUME_MODEL = ""                # checkpoint to resume from: a name in the run's models/ (--overwrite rewinds the run to it)
                                      # or a path with a "/"; --ar prefers the run's own newest checkpoint
TREE.RESUME_MODE = "all"              # all: weights, optimizer, epoch, on the same data | state_dict: weights only, from epoch 1
TREE.EVAL_MODE = False                # train with the network in eval mode (BatchNorm and dropout as in validation)

TREE.DATASET = Node()
TREE.DATASET.DATASET = "IMBALANCEDIGITS"   # a registered data set
TREE.DATASET.ROOT = ""                # folder (or CSV) of the data; empty: the usual place, of JSON sets the working directory
TREE.DATASET.TRAIN_JSON = ""          # annotations of the training images (CIFAR, iNaturalist); a relative path is under ROOT
TREE.DATASET.VALID_JSON = ""          # annotations of the validation images, likewise
TREE.DATASET.TEST_JSON = ""           # annotations of test images, which are looked at once, at the end; likewise
TREE.DATASET.IN_MEMORY = "auto"       # auto: all images of one size and below 2 GB | always | never: read by workers
TREE.DATASET.ON_BAD_IMAGE = "error"   # an unreadable image: error | skip (the next one of its class takes its place, counted)
TREE.DATASET.EXIF = True              # image files are turned upright by their EXIF orientation; False: as they are stored
TREE.DATASET.ALPHA = "drop"           # transparent pixels: drop (the colour stored in them) | white | black (put on it)
TREE.DATASET.MEAN = []                # mean of R, G, B, in units of [0, 1]; empty: the data set's own, of JSON sets ImageNet's
TREE.DATASET.STD = []                 # standard deviation per channel, likewise
TREE.DATASET.GENERATE_CAM_BASED_DATASET = False   # make the images of CAM-based sampling instead of training
TREE.DATASET.USE_CAM_BASED_DATASET = False        # train with the images of CAM-based sampling added
TREE.DATASET.CAM_DATA_JSON_SAVE_PATH = ""         # annotations of the added images, a .json file
TREE.DATASET.CAM_DATA_SAVE_PATH = ""              # folder of the added images
TREE.DATASET.CAM_NUMBER_THRES = 0                 # most images added to a class; none at this size; 0: no limit
TREE.DATASET.FOLDER = Node()                      # your own pictures: ROOT is their folder, or a CSV (path,label,split,group)
TREE.DATASET.FOLDER.LAYOUT = "auto"               # folders are classes | parts (train, val, test) | auto: by their names
TREE.DATASET.FOLDER.SPLIT = ""                    # a file such as a run's split.csv; empty: parts are chosen here
TREE.DATASET.FOLDER.VALID_SHARE = 0.2             # share of each class for validation, where there are no such images yet
TREE.DATASET.FOLDER.TEST_SHARE = 0.0              # share of each class for the test, once, at the end; likewise
TREE.DATASET.FOLDER.MIN_VALID = 2                 # fewest images of a class for validation (and for the test), up to half of it
TREE.DATASET.FOLDER.SEED = 0                      # which images these are; another SEED of the training leaves them
TREE.DATASET.FOLDER.NEAR_DUPLICATES = True        # look for pictures that are nearly equal, which stay on one side
TREE.DATASET.FOLDER.FOLDS = 0                     # folds, of which one validates (train.py --folds trains all); 0: VALID_SHARE
TREE.DATASET.FOLDER.FOLD = 1                      # which one
TREE.DATASET.FOLDER.CACHE = ".looks"              # folder in OUTPUT_DIR that keeps what was found in the pictures; empty: none
TREE.DATASET.IMBALANCECIFAR = Node()              # the long-tailed subset of every IMBALANCE* data set
TREE.DATASET.IMBALANCECIFAR.RATIO = 0.01          # images of the rarest class / images of the most frequent one
TREE.DATASET.IMBALANCECIFAR.RANDOM_SEED = 0       # which images are kept
TREE.DATASET.IMBALANCECIFAR.TYPE = "exp"          # exp: exponential profile | step: half the classes are rare

TREE.NETWORK = Node()
TREE.NETWORK.PRETRAINED = False       # load NETWORK.PRETRAINED_MODEL before training
TREE.NETWORK.PRETRAINED_MODEL = ""    # checkpoint of a whole network for these classes: a name in the run's models/, or a path

TREE.NETWORK.EXPERTS = Node()
TREE.NETWORK.EXPERTS.NUM = 1          # copies of the last stages and the classifier, whose mean logits are evaluated
TREE.NETWORK.EXPERTS.FROM = "auto"    # first stage of which each expert has its own; auto: layer2 (CIFAR), layer3 (ImageNet)
TREE.NETWORK.EXPERTS.WIDTH = 1.0      # channels of an expert's stages, as a multiple; 0.75: "reduced"

TREE.BACKBONE = Node()
TREE.BACKBONE.TYPE = "res50"          # a registered backbone; timm: any model of that package
TREE.BACKBONE.TIMM = Node()
TREE.BACKBONE.TIMM.MODEL = ""         # with TYPE timm: its name there, such as convnext_tiny (pip install timm)
TREE.BACKBONE.FREEZE = False          # train the classifier only, as CLASSIFIER.TYPE cRT and LWS do anyway
TREE.BACKBONE.FREEZE_BN = False       # in a frozen backbone the BatchNorm statistics stop as well
TREE.BACKBONE.PRETRAINED_MODEL = ""   # whose backbone is loaded: a checkpoint, a file of torchvision, timm, MoCo, … (likewise),
                                      # or weights by name: torchvision:resnet50, timm:convnext_tiny.fb_in22k

TREE.MODULE = Node()
TREE.MODULE.TYPE = "GAP"              # GAP: mean over the positions | Identity: all positions go to the classifier

TREE.CLASSIFIER = Node()
TREE.CLASSIFIER.TYPE = "FC"           # FC | FCNorm (cosines, for LDAMLoss and GCL) | CosineFC | second stages: cRT | LWS
                                      # | MaxNorm | DisAlign | MARC
TREE.CLASSIFIER.BIAS = True           # bias of FC, cRT and the other second stages
TREE.CLASSIFIER.CosineFC = Node()
TREE.CLASSIFIER.CosineFC.SCALE = 30.0         # factor of the cosines, in the network
TREE.CLASSIFIER.LWS = Node()
TREE.CLASSIFIER.LWS.TRAIN_FC = False          # the first stage's linear layer is trained with its scales (MiSLAS)
TREE.CLASSIFIER.MaxNorm = Node()
TREE.CLASSIFIER.MaxNorm.DELTA = 0.1           # the longest class vector allowed: DELTA of the way from the first stage's shortest
TREE.CLASSIFIER.MaxNorm.EVERY = "epoch"       # epoch | step, after which longer ones are shortened

TREE.HEADS = Node()
TREE.HEADS.TYPES = []                 # what else the network gives, for combiners that read it, such as ["projection"]
TREE.HEADS.PROJECTION = Node()
TREE.HEADS.PROJECTION.HIDDEN = 0              # width between its two linear layers; 0: the number of features
TREE.HEADS.PROJECTION.DIM = 128               # of the unit vectors that are compared
TREE.HEADS.PROTOTYPES = Node()
TREE.HEADS.PROTOTYPES.HIDDEN = 0              # likewise, of the unit vectors that are made of the classifier's
TREE.HEADS.PROTOTYPES.DIM = 128

TREE.LOSS = Node()
TREE.LOSS.LOSS_TYPE = "CrossEntropy"  # a registered loss; with AUTO auto: BalancedSoftmaxCE unless something else re-balances
TREE.LOSS.CostSensitiveCE = Node()
TREE.LOSS.CostSensitiveCE.GAMMA = 1.0            # class weight (n_min / n_c) ** GAMMA; 0.5: "square"
TREE.LOSS.ClassBalanceCE = Node()
TREE.LOSS.ClassBalanceCE.BETA = 0.999            # class weight (1 - BETA) / (1 - BETA ** n_c)
TREE.LOSS.ClassBalanceFocal = Node()
TREE.LOSS.ClassBalanceFocal.BETA = 0.999
TREE.LOSS.ClassBalanceFocal.GAMMA = 0.5          # focusing power (1 - p_t) ** GAMMA
TREE.LOSS.CrossEntropyLabelSmooth = Node()
TREE.LOSS.CrossEntropyLabelSmooth.EPSILON = 0.1  # share of the label spread over all classes
TREE.LOSS.CrossEntropyLabelAwareSmooth = Node()
TREE.LOSS.CrossEntropyLabelAwareSmooth.SMOOTH_HEAD = 0.4   # share spread for the most frequent class
TREE.LOSS.CrossEntropyLabelAwareSmooth.SMOOTH_TAIL = 0.1   # share spread for the rarest class
TREE.LOSS.CrossEntropyLabelAwareSmooth.SHAPE = "concave"   # concave | linear | convex, between them
TREE.LOSS.FocalLoss = Node()
TREE.LOSS.FocalLoss.GAMMA = 2.0
TREE.LOSS.LDAMLoss = Node()
TREE.LOSS.LDAMLoss.SCALE = 30.0                  # factor of the cosines
TREE.LOSS.LDAMLoss.MAX_MARGIN = 0.5              # margin of the rarest class
TREE.LOSS.GCL = Node()
TREE.LOSS.GCL.SCALE = 30.0                       # factor of the cosines
TREE.LOSS.GCL.NOISE = 0.5                        # size of the noise that lowers the rarest class's cosines
TREE.LOSS.GCL.MARGIN = 0.0                       # of every label
TREE.LOSS.GCL.FOCAL_GAMMA = 0.0                  # examples are weighted by (1 - p_y) ** FOCAL_GAMMA
TREE.LOSS.CDT = Node()
TREE.LOSS.CDT.GAMMA = 0.2                        # class temperature (n_max / n_c) ** GAMMA
TREE.LOSS.SEQL = Node()
TREE.LOSS.SEQL.GAMMA = 0.9                       # probability that a rare negative class is left out
TREE.LOSS.SEQL.LAMBDA = 0.005                    # a class is rare below this share of the images
TREE.LOSS.InfluenceBalancedLoss = Node()
TREE.LOSS.InfluenceBalancedLoss.ALPHA = 1000.0
TREE.LOSS.DiVEKLD = Node()
TREE.LOSS.DiVEKLD.POWER_NORM = False             # sharpen or flatten the teacher's distribution
TREE.LOSS.DiVEKLD.POWER = 0.5                    # by this power
TREE.LOSS.DiVEKLD.TEMPERATURE = 3.0
TREE.LOSS.DiVEKLD.ALPHA = 0.5                    # share of the distillation term
TREE.LOSS.DiVEKLD.BASELOSS = "BalancedSoftmaxCE"   # a registered loss (published: BSCE, which has none)
TREE.LOSS.ClassBalancedBCE = Node()
TREE.LOSS.ClassBalancedBCE.BETA = 0.9999         # class weight (1 - BETA) / (1 - BETA ** n_c)
TREE.LOSS.GeneralizedReweightCE = Node()
TREE.LOSS.GeneralizedReweightCE.RHO = 1.2      # class weight (1 / p_c) ** RHO
TREE.LOSS.LogitAdjustedCE = Node()
TREE.LOSS.LogitAdjustedCE.TAU = 1.0            # log p_c is multiplied by it; 1 is balanced softmax
TREE.LOSS.VSLoss = Node()
TREE.LOSS.VSLoss.GAMMA = 0.3                   # logit of class c divided by (n_max / n_c) ** GAMMA
TREE.LOSS.VSLoss.TAU = 1.0                     # as of LogitAdjustedCE
TREE.LOSS.LADE = Node()
TREE.LOSS.LADE.ALPHA = 0.1                     # weight of the regulariser
TREE.LOSS.LADE.LAMBDA = 0.01                   # weight of its square
TREE.LOSS.SADE = Node()
TREE.LOSS.SADE.TAU = 2.0                       # log of the reversed prior is multiplied by it, for the third expert
TREE.LOSS.RIDE = Node()
TREE.LOSS.RIDE.DIVERSITY = -0.2                # weight of each expert's divergence from their mean; negative: pushed apart
TREE.LOSS.RIDE.REWEIGHT_FACTOR = 0.05          # how far temperatures follow the class sizes, in DRW's second stage
TREE.LOSS.RIDE.MAX_MARGIN = 0.5                # margin of the rarest class
TREE.LOSS.RIDE.SCALE = 30.0                    # of the logits, as CLASSIFIER.CosineFC.SCALE
TREE.LOSS.BalPoE = Node()
TREE.LOSS.BalPoE.TAUS = [0.0, 1.0, 2.0]          # tau of each expert; of other numbers of experts at equal distances between them

TREE.TRAIN = Node()
TREE.TRAIN.BATCH_SIZE = 32            # images: per process under DDP, in total under DataParallel
TREE.TRAIN.MAX_EPOCH = 60             # epochs; they count from 1
TREE.TRAIN.MINUTES = 0.0              # with AUTO and MAX_EPOCH 0: as many epochs as end in about this time; 0: by the images
TREE.TRAIN.SHUFFLE = True             # False keeps the order of the data set (default sampler only)
TREE.TRAIN.NUM_WORKERS = 8            # processes that read images (not used when the data set is in memory)
TREE.TRAIN.NUM_THREADS = 0            # CPU threads of one process; 0: the cores shared out among the local processes
TREE.TRAIN.MEMORY_FORMAT = "channels_last"   # channels_last | contiguous
TREE.TRAIN.DISTRIBUTED = False        # kept from published files; torchrun's environment decides
TREE.TRAIN.APEX = True                # mixed precision, in the type of AMP_DTYPE; False: float32
TREE.TRAIN.AMP_DTYPE = "auto"         # auto (float16 on CUDA, float32 on a CPU) | float16 (CUDA) | bfloat16 (both)
TREE.TRAIN.AMP_BACKEND = "auto"       # auto: NVIDIA apex where it has amp, else torch | apex | torch
TREE.TRAIN.CUDA_GRAPHS = False        # the training step as one CUDA graph (one GPU; float32 or torch's mixed precision)
TREE.TRAIN.COMPILE = False            # torch.compile of the network in training (needs a C++ compiler; a minute or more to begin)
TREE.TRAIN.EMA_DECAY = 0.0            # evaluate and store an average of the weights over the steps, with this decay; 0: none
TREE.TRAIN.SYNCBN = False             # BatchNorm over all ranks (CUDA with DDP)
TREE.TRAIN.CHECKPOINT_MINUTES = 10.0  # from one checkpoint inside an epoch to the next; 0: none but at a signal
TREE.TRAIN.TENSORBOARD = Node()
TREE.TRAIN.TENSORBOARD.ENABLE = True  # write event files for TensorBoard

TREE.TRAIN.COMBINER = Node()
TREE.TRAIN.COMBINER.TYPE = "default"  # default | mix_up | manifold_mix_up | remix | bbn_mix | cut_mix | cmo | uni_mix | dive
                                      # | bcl | proco | h2t
TREE.TRAIN.COMBINER.ALPHA = 1.0       # share of an image in a mixture ~ Beta(ALPHA, ALPHA)
TREE.TRAIN.COMBINER.MANIFOLD_MIX_UP = Node()
TREE.TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION = "pool"   # after layer1 ... layer4 | pool | fc (logits)
TREE.TRAIN.COMBINER.REMIX = Node()
TREE.TRAIN.COMBINER.REMIX.KAPPA = 3.0            # ratio of class sizes from which the rarer class takes the label
TREE.TRAIN.COMBINER.REMIX.TAU = 0.5              # if the share of the image of the larger class is below TAU
TREE.TRAIN.COMBINER.REMIX.PER_SAMPLE = True      # False: one averaged share per batch, as in the published tables
TREE.TRAIN.COMBINER.CUT_MIX = Node()
TREE.TRAIN.COMBINER.CUT_MIX.PROBABILITY = 1.0    # share of the batches that are mixed
TREE.TRAIN.COMBINER.CMO = Node()
TREE.TRAIN.COMBINER.CMO.PROBABILITY = 0.5        # likewise
TREE.TRAIN.COMBINER.CMO.WARM_UP = 3              # first (and one more) and last epochs without mixing
TREE.TRAIN.COMBINER.UNI_MIX = Node()
TREE.TRAIN.COMBINER.UNI_MIX.ALPHA = 0.8          # of the Beta distribution; COMBINER.ALPHA is of the others
TREE.TRAIN.COMBINER.UNI_MIX.TAU = -0.1           # a partner is drawn in proportion to n_c ** TAU
TREE.TRAIN.COMBINER.H2T = Node()
TREE.TRAIN.COMBINER.H2T.SHARE = 0.25             # of the channels of the last feature maps that are those of another image
TREE.TRAIN.COMBINER.DIVE = Node()
TREE.TRAIN.COMBINER.DIVE.TEACHER_MODEL = ""      # checkpoint of the teacher: a name in the run's models/, or a path with a "/"
TREE.TRAIN.COMBINER.BCL = Node()                 # two further views of each image (TRANSFORMS.VIEWS) are contrasted
TREE.TRAIN.COMBINER.BCL.LOSS_WEIGHT = 1.0        # of LOSS_TYPE, on the first view
TREE.TRAIN.COMBINER.BCL.CONTRAST_WEIGHT = 0.35   # of the contrastive loss
TREE.TRAIN.COMBINER.BCL.TEMPERATURE = 0.07       # by which similarities are divided in it

TREE.TRAIN.COMBINER.PROCO = Node()               # likewise, with the distribution of each class's vectors
TREE.TRAIN.COMBINER.PROCO.CONTRAST_WEIGHT = 1.0
TREE.TRAIN.COMBINER.PROCO.TEMPERATURE = 0.1

TREE.TRAIN.UPDATE = Node()
TREE.TRAIN.UPDATE.TYPE = "plain"      # plain | two passes: sam | asam | three: imb_sam | focal_sam
TREE.TRAIN.UPDATE.ACCUMULATE = 1      # pieces of a batch, one after the other in memory; their gradients are added up
TREE.TRAIN.UPDATE.CLIP_NORM = 0.0     # the gradient is shortened to this L2 norm; 0: it is not
TREE.TRAIN.UPDATE.SAM = Node()
TREE.TRAIN.UPDATE.SAM.RHO = 0.05      # how far away the gradient is taken, as the L2 norm over all weights
TREE.TRAIN.UPDATE.SAM.BN = "both"     # passes that move BatchNorm's statistics: both | first
TREE.TRAIN.UPDATE.SAM.LOCAL = False   # each rank goes its own way in the first pass
TREE.TRAIN.UPDATE.ASAM = Node()
TREE.TRAIN.UPDATE.ASAM.RHO = 0.5      # as of SAM, in units of each weight
TREE.TRAIN.UPDATE.ASAM.ETA = 0.01     # added to the size of a weight
TREE.TRAIN.UPDATE.ASAM.BN = "both"    # likewise
TREE.TRAIN.UPDATE.ASAM.LOCAL = False
TREE.TRAIN.UPDATE.IMB_SAM = Node()
TREE.TRAIN.UPDATE.IMB_SAM.RHO = 0.05
TREE.TRAIN.UPDATE.IMB_SAM.THRESHOLD = 20   # classes with fewer training images than this are rare
TREE.TRAIN.UPDATE.IMB_SAM.BN = "both"
TREE.TRAIN.UPDATE.FOCAL_SAM = Node()
TREE.TRAIN.UPDATE.FOCAL_SAM.RHO = 0.2
TREE.TRAIN.UPDATE.FOCAL_SAM.GAMMA = 3.0    # weight of a class LAMBDA * (1 - n_c / N) ** GAMMA
TREE.TRAIN.UPDATE.FOCAL_SAM.LAMBDA = 0.5
TREE.TRAIN.UPDATE.FOCAL_SAM.BN = "both"

TREE.TRAIN.TWO_STAGE = Node()
TREE.TRAIN.TWO_STAGE.DRW = False      # re-weight from epoch START_EPOCH + 1 on
TREE.TRAIN.TWO_STAGE.DRS = False      # re-sample from epoch START_EPOCH + 1 on
TREE.TRAIN.TWO_STAGE.START_EPOCH = 1  # last epoch of the first stage; -1: the first epoch of LR_STEP

TREE.TRAIN.SAMPLER = Node()
TREE.TRAIN.SAMPLER.TYPE = "default"   # default | weighted sampler | bbn sampler
TREE.TRAIN.SAMPLER.WEIGHTED_SAMPLER = Node()
TREE.TRAIN.SAMPLER.WEIGHTED_SAMPLER.TYPE = "balance"   # balance | square | progressive
TREE.TRAIN.SAMPLER.BBN_SAMPLER = Node()
TREE.TRAIN.SAMPLER.BBN_SAMPLER.TYPE = "reverse"        # second row: reverse | balance | uniform | power
TREE.TRAIN.SAMPLER.BBN_SAMPLER.POWER = 1.0             # of power: an image is drawn in proportion to 1 / n_c ** POWER

TREE.TRAIN.OPTIMIZER = Node()
TREE.TRAIN.OPTIMIZER.TYPE = "SGD"     # SGD | ADAM | ADAMW (decoupled weight decay)
TREE.TRAIN.OPTIMIZER.BASE_LR = 0.001  # rate, multiplied by the schedule
TREE.TRAIN.OPTIMIZER.MOMENTUM = 0.9   # of SGD
TREE.TRAIN.OPTIMIZER.NESTEROV = True  # of SGD, Nesterov's momentum (if there is any)
TREE.TRAIN.OPTIMIZER.WEIGHT_DECAY = 0.0001   # L2, on all parameters
TREE.TRAIN.OPTIMIZER.LR_FACTORS = []  # rates of parts, such as ["backbone=0.1"]: the longest prefix counts, 0 freezes

TREE.TRAIN.LR_SCHEDULER = Node()
TREE.TRAIN.LR_SCHEDULER.TYPE = "multistep"   # multistep | warmup (multistep after a climb) | cosine | warmup_cosine
TREE.TRAIN.LR_SCHEDULER.LR_STEP = [40, 50]   # first epochs of the lower rates
TREE.TRAIN.LR_SCHEDULER.LR_FACTOR = 0.1      # by which they are lower
TREE.TRAIN.LR_SCHEDULER.WARM_EPOCH = 5       # epochs of the linear climb (warmup, warmup_cosine); 0: none
TREE.TRAIN.LR_SCHEDULER.COSINE_DECAY_END = 0   # epoch at which the cosine ends; 0: MAX_EPOCH
TREE.TRAIN.LR_SCHEDULER.WARMUP_EPOCHS = 0    # epochs of a linear climb before any TYPE: its rate is multiplied; 0: none
TREE.TRAIN.LR_SCHEDULER.WARMUP_FROM = 0.0    # factor that the climb starts from, at epoch 0

TREE.TEST = Node()
TREE.TEST.PART = "valid"              # images for main/valid.py: valid | test (looks at them are counted)
TREE.TEST.BATCH_SIZE = 32             # images of a forward pass without training
TREE.TEST.LARGE_BATCHES = True        # on a GPU more than that, if images are small: 2^20 pixels (1,024 images of 32×32)
TREE.TEST.NUM_WORKERS = 8
TREE.TEST.MODEL_FILE = ""             # checkpoint for main/valid.py: a name in the run's models/, or a path; empty: last.pth
TREE.TEST.BEST_BY = "accuracy"        # accuracy (top-1) | balanced | macro_f1: chooses best_model.pth and the best tau
TREE.TEST.MANY_SHOT = 100             # classes with more training images than this are many-shot,
TREE.TEST.FEW_SHOT = 20               # those with fewer than this few-shot, all others medium-shot
TREE.TEST.LOGIT_ADJUST = 0.0          # main/valid.py subtracts LOGIT_ADJUST * log p_c from the logits; for losses without prior
TREE.TEST.SWEEP = []                  # more values of LOGIT_ADJUST, for a table and a figure
TREE.TEST.PRIOR = ""                  # known class prior of the test set: uniform | forward-50 | backward-50 | a JSON file
TREE.TEST.SHIFTS = []                 # ratios of shifted test sets, such as [2, 5, 10, 25, 50], forward and backward
TREE.TEST.TAU_NORM = Node()
TREE.TEST.TAU_NORM.USE_TAU_NORM = False   # main/valid.py validates the tau-normalized classifier
TREE.TEST.TAU_NORM.TAU = 1.0          # classifier rows are divided by their norm ** TAU
TREE.TEST.TAU_NORM.SWEEP = []         # more values of TAU, for a table and a figure

TREE.TRANSFORMS = Node()
TREE.TRANSFORMS.TRAIN_TRANSFORMS = ["random_resized_crop", "random_horizontal_flip"]
TREE.TRANSFORMS.TEST_TRANSFORMS = ["shorter_resize_for_crop", "center_crop"]
TREE.TRANSFORMS.VIEWS = []            # transforms of further views of each training image, a list of names for each
TREE.TRANSFORMS.PROCESS_DETAIL = Node()
TREE.TRANSFORMS.PROCESS_DETAIL.CURRICULUM = Node()                # augmentation whose strength each class has of its own
TREE.TRANSFORMS.PROCESS_DETAIL.CURRICULUM.PROBABILITY = 0.5       # share of the images that it changes
TREE.TRANSFORMS.PROCESS_DETAIL.CURRICULUM.THRESHOLD = 0.6         # accuracy above which a class becomes one level stronger
TREE.TRANSFORMS.PROCESS_DETAIL.CURRICULUM.SAMPLES = 10            # images of a class, times level + 1, that are looked at
TREE.TRANSFORMS.PROCESS_DETAIL.CUTOUT = Node()
TREE.TRANSFORMS.PROCESS_DETAIL.CUTOUT.SIDE = 16                   # of the black square, in pixels
TREE.TRANSFORMS.PROCESS_DETAIL.RAND_AUGMENT = Node()
TREE.TRANSFORMS.PROCESS_DETAIL.RAND_AUGMENT.NUM = 2               # operations for each image
TREE.TRANSFORMS.PROCESS_DETAIL.RAND_AUGMENT.MAGNITUDE = 10.0      # 0 to 10, the mean
TREE.TRANSFORMS.PROCESS_DETAIL.RAND_AUGMENT.DEVIATION = 0.5       # standard deviation of the magnitude
TREE.TRANSFORMS.PROCESS_DETAIL.RAND_AUGMENT.PROBABILITY = 0.5     # of each operation
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_ROTATION = Node()
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_ROTATION.DEGREES = 15.0     # largest angle, either way
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP = Node()
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP.PADDING = 4            # black pixels on each side
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP = Node()
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE = [0.08, 1.0]          # share of the image's area
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.RATIO = [0.75, 1.333333333]  # width / height
TREE.TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALED_DECODING = False      # decode JPEGs of twice the size and more smaller
