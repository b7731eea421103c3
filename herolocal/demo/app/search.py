"""Full-text search of the posts, when a search server is attached and answers."""

from collections.abc import Iterable

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch, NotFoundError

from app.models import Post

INDEX = "microblog-posts"


class SearchUnavailable(Exception):
    """No search server is configured, or it did not answer as one."""


class Search:
    """The posts in Elasticsearch. Every method but `is_up` raises SearchUnavailable."""

    def __init__(self, url: str) -> None:
        # The user and password in the URL are sent with each request. Not for long: a page is waiting.
        self._client = Elasticsearch(url, request_timeout=3, max_retries=1) if url else None

    @property
    def is_configured(self) -> bool:
        return self._client is not None

    def add(self, posts: Iterable[Post]) -> None:
        """Make the posts searchable, at once."""
        client = self._connected()
        try:
            for post in posts:
                document = {"body": post.body, "author": post.author.username}
                client.index(index=INDEX, id=str(post.id), document=document)
            client.indices.refresh(index=INDEX)
        except (ApiError, TransportError) as error:
            raise SearchUnavailable(str(error)) from error

    def remove(self, post_id: int) -> None:
        client = self._connected()
        try:
            client.delete(index=INDEX, id=str(post_id), refresh=True)
        except NotFoundError:
            return  # it never was searchable
        except (ApiError, TransportError) as error:
            raise SearchUnavailable(str(error)) from error

    def find(self, text: str) -> list[int]:
        """Ids of at most 50 posts that match, best first."""
        client = self._connected()
        query = {"multi_match": {"query": text, "fields": ["body", "author"]}}
        try:
            answer = client.search(index=INDEX, query=query, size=50)
        except NotFoundError:
            return []  # nobody has posted yet
        except (ApiError, TransportError) as error:
            raise SearchUnavailable(str(error)) from error
        return [int(hit["_id"]) for hit in answer["hits"]["hits"]]

    def is_up(self) -> bool:
        try:
            self._connected().options(request_timeout=2, max_retries=0).indices.exists(index=INDEX)
        except (ApiError, TransportError, SearchUnavailable):
            return False
        return True

    def _connected(self) -> Elasticsearch:
        if self._client is None:
            raise SearchUnavailable("no search server is configured")
        return self._client
