"""A folder of pictures, from what is in it to training and validation images."""
from lib.dataset.folder.duplicates import describe_equal, number_groups
from lib.dataset.folder.layout import LAYOUTS, Keys
from lib.dataset.folder.listing import Found, Listing, list_folder
from lib.dataset.folder.split import choose_validation, describe_counts
from lib.dataset.folder.verify import Look, look_at

__all__ = [
           "LAYOUTS",
           "Found",
           "Keys",
           "Listing",
           "Look",
           "choose_validation",
           "describe_counts",
           "describe_equal",
           "list_folder",
           "look_at",
           "number_groups",
]
