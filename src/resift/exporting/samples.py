"""What a written graph is tried on: one query, many documents."""

import random

QUERY = "what do pandas eat, and where do they live?"

_SENTENCES = (
    "The giant panda eats bamboo, and little else.",
    "A panda spends twelve hours a day eating, because bamboo holds so little that feeds.",
    "Wild pandas live in a few mountain ranges of central China, in forests with dense bamboo below the trees.",
    "Red pandas are smaller, live in the Himalayas, and are no bears.",
    "Pandas in zoos are given bamboo, sugar cane, rice gruel, carrots, apples and sweet potatoes.",
    "Koalas eat eucalyptus leaves, and sleep for most of the day.",
    "The capital of France is Paris; the Louvre is its largest museum.",
    "In 1998, revenue rose by 12.5 % to $4.3 million, while costs fell.",
    "To reset the router, press and hold the button on its back for ten seconds.",
    "def area(width, height): return width * height  # in square metres",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "She opened the letter, read it twice, and put it into the fire.",
    "The defendant may appeal within thirty days of the judgement.",
    "Take 200 g of flour, two eggs and a pinch of salt; rest the dough for an hour.",
    "Der Große Panda lebt in den Bergwäldern Chinas und frisst Bambus.",
    "Le panda géant se nourrit presque exclusivement de bambou.",
    "El oso panda vive en las montañas de China.",
    "大熊猫主要吃竹子。",
    "Большая панда питается бамбуком.",
    "パンダは竹を食べます。",
    "Contact: info (at) example.org, +49 30 1234567, Mon-Fri 9-17h.",
    "Aspirin inhibits the enzyme cyclooxygenase, and with it the making of prostaglandins.",
    "Two trains leave at noon; one travels at 80 km/h, the other at 120 km/h.",
    "no",
)


def documents(count: int = 64) -> list[str]:
    """Return documents of one to a few dozen sentences, always the same ones; none is there twice."""
    chance = random.Random(0)  # noqa: S311 - nothing here is a secret
    made: dict[str, None] = {}
    while len(made) < count:
        length = min(len(_SENTENCES), 1 + int(chance.expovariate(0.2)))
        made[" ".join(chance.sample(_SENTENCES, length))] = None
    return list(made)
