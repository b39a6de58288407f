"""Run by PyInstaller: what a frozen app needs of this package besides its modules."""

from PyInstaller.utils.hooks import collect_data_files
from PyInstaller.utils.hooks import copy_metadata

datas = [*collect_data_files("flask_push"), *copy_metadata("Flask-Push")]
