"""What every client asks: one query, and documents of which two are equally far from it."""

QUERY = "How do glaciers shape valleys?"
DOCUMENTS = (
    "The recipe asks for two eggs and a cup of flour.",
    "Glaciers shape valleys: the ice grinds them wide and deep.",
    "A glacier is a river of ice that moves slowly.",
    "Valleys with steep walls were often carved by glaciers.",
    "The train to Lyon leaves at nine.",
    "Rivers cut narrow valleys, unlike ice, which is broad.",
    "U-shaped valleys („Trogtäler“) remain where glaciers were. 🏔",
)
TOP_N = 3
MODEL = "lexical"
KEY = "a-key-for-interop"
