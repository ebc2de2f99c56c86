"""A folder of pictures, from what is in it to training, validation and test images."""
from lib.dataset.folder.assignment import Assignment
from lib.dataset.folder.describe import FILES, SPLIT, class_table, unreadable_text, write_files
from lib.dataset.folder.duplicates import describe_equal, number_groups
from lib.dataset.folder.layout import LAYOUTS, Keys
from lib.dataset.folder.listing import Found, Listing, list_folder
from lib.dataset.folder.split import choose_validation, describe_counts
from lib.dataset.folder.stored import survey_part
from lib.dataset.folder.survey import Options, Survey, survey
from lib.dataset.folder.verify import THREADS, Look, look_at

__all__ = ["FILES", "LAYOUTS", "SPLIT", "THREADS", "Assignment", "Found", "Keys", "Listing", "Look", "Options", "Survey",
           "choose_validation", "class_table", "describe_counts", "describe_equal", "list_folder", "look_at", "number_groups",
           "survey", "survey_part", "unreadable_text", "write_files"]
