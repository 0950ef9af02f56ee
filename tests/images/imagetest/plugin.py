"""Fixtures for the tests of a definition, which name it in `IMAGE`."""

import shutil

import pytest

from .image import Image
from .service import Service, scratch


@pytest.fixture(scope="session")
def image_folder():
    folder = scratch()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def image(request, image_folder):
    """The image that the module names in `IMAGE`, built and unpacked."""
    return Image.build(request.module.IMAGE, image_folder / "root")


@pytest.fixture
def make_service(image):
    """Services of the image, with the volumes that the module names in `VOLUMES`; ended at the end."""
    made, folders = [], []

    def make(folder=None, volumes=()):
        if folder is None:
            folder = scratch()
            folders.append(folder)
        service = Service(image, folder, volumes)
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
