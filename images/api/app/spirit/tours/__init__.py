"""Tours: what they are, where they are kept, how clients ask for them."""

from spirit.tours.routes import router

__all__ = ["router"]
