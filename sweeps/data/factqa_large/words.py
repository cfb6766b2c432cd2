"""Word lists written by hand; what is asked about them comes from `inflect` and `lemminflect` (see relations.py)."""

NOUNS = """apple army arm artist baby bag ball bank battery beach bear bed bell berry bird blade board boat body bone book boss bottle
box branch brick bridge brother brush bucket building bus bush butterfly button cake calf camel camera candle car card cat cherry
chief child church city class cliff clock cloud coach coin copy country cow crash cross cup daisy day desk diary dish doctor dog
donkey door dress duck duty eagle ear echo egg elephant elf enemy engine eye face factory family farm father finger fish flag
flower fly foot forest fork fox friend frog galaxy game garden gate ghost girl glass goose grape guitar hair half hammer hand hat
hero hill hobby horse hotel house judge key kiss kitchen knife lady lake lamp leaf leg lemon letter library life lion loaf man
map match meal mirror mouse moon mountain mouth nail neck needle net nose novel nurse ocean orange ox page pan party peach pen
pencil penny person piano picture pig pillow plane plant plate pocket poem pony potato prize puppy queen rabbit radio river road
robot rock roof room rope rose sandwich scarf school sea shelf ship shoe shop sister sky snake sock song spoon spy star stitch
stone story street student table tax teacher thief tiger tomato tooth torch tower town toy train tree truck uncle valley village
voice wall watch wave whale wheel wife window wing wish witch wolf woman worker year zebra""".split()

VERBS = """accept add agree allow answer arrive ask bake become begin believe bend bite blow borrow break bring build burn buy call
carry catch change choose clap clean climb close come cook copy count cover cry cut dance decide deliver deny dig draw dream dress
drink drive drop eat enjoy enter explain fail fall feed feel fight find finish fix fly forget forgive freeze gather get give go grab
grow guess happen hate have hear help hide hit hold hope hug hurry hurt imagine invite join jog jump keep kick kill kiss knock know
laugh lead learn leave lend lift like listen live look lose love make marry meet melt miss move need notice offer open order pack
paint pay pick plan plant play pray promise pull push put rain reach read receive remember repair repeat rest ride ring rise rob
run sail save say search see seem sell send shake share shine shoot shop shout show shut sing sink sit sleep slip smell smile
solve speak spell spend stand start stay steal stop study supply swim take talk taste teach tell thank think throw tie touch train
travel treat trust try turn understand use visit wait wake walk want warn wash watch wear weep win wish work worry write""".split()

ADJECTIVES = """angry bad big bitter black bold brave brief bright broad busy calm cheap clean clear clever close cold cool cruel curly
dark deep dirty dry dull dusty early easy empty fair faint far fast fat few fine firm flat fresh friendly full funny gentle good
grand great green happy hard healthy heavy high hot huge hungry kind large late lazy light little lonely long loud lovely low lucky
mad messy mild narrow near neat new nice noisy odd old pale plain poor pretty proud pure quick quiet rare rich ripe rough round rude
sad safe salty shallow sharp short shy silly simple slow small smart smooth soft sour steep strange strict strong sunny sweet
tall tasty thick thin tidy tight tiny tough true ugly warm weak wealthy wet white wide wild wise young""".split()

CATEGORIES = {
    "fruit": "apple banana cherry grape lemon mango orange peach pear pineapple plum strawberry kiwi lime apricot",
    "vegetable": "carrot broccoli cabbage spinach onion lettuce cauliflower potato turnip celery radish leek asparagus",
    "animal": "dog cat elephant tiger horse giraffe rabbit wolf monkey cow sheep goat kangaroo fox",
    "bird": "eagle sparrow parrot owl pigeon crow robin swan penguin falcon ostrich seagull",
    "fish": "salmon tuna trout cod herring sardine carp mackerel",
    "insect": "ant bee mosquito butterfly beetle wasp grasshopper moth ladybug",
    "color": "red blue green yellow purple pink brown violet turquoise scarlet",
    "tool": "hammer saw screwdriver wrench drill axe shovel pliers chisel",
    "instrument": "piano guitar violin flute trumpet drum cello clarinet harp saxophone",
    "clothing": "shirt trousers jacket skirt sweater coat dress socks gloves",
    "furniture": "chair table sofa bed desk wardrobe bookshelf cupboard stool",
    "vehicle": "car bus truck bicycle motorcycle van taxi tractor ambulance",
    "drink": "coffee tea milk juice wine beer lemonade whisky",
    "sport": "soccer tennis basketball hockey golf baseball rugby cricket volleyball",
    "metal": "iron gold silver copper zinc lead aluminium tin steel",
    "flower": "rose tulip daisy lily orchid sunflower daffodil violet",
    "tree": "oak pine maple birch willow elm cedar spruce",
    "planet": "Mars Venus Jupiter Saturn Neptune Uranus Mercury",
    "language": "French Spanish Arabic Hindi Swahili Korean Turkish Greek",
    "profession": "doctor teacher lawyer plumber engineer nurse carpenter dentist farmer",
    "shape": "circle square triangle rectangle pentagon hexagon oval",
    "weapon": "sword gun spear rifle dagger pistol bow",
    "reptile": "snake lizard crocodile turtle alligator iguana",
    "spice": "pepper cinnamon ginger turmeric nutmeg saffron cumin",
    "dance": "waltz tango ballet salsa polka foxtrot",
}
CATEGORY_ALSO = {"color": ["colour"], "instrument": ["musical instrument"], "clothing": ["clothes", "garment"], "drink": ["beverage"],
                 "profession": ["job", "occupation"], "animal": ["mammal"], "spice": ["herb", "seasoning"], "insect": ["bug"]}

GENDER = """king:queen|prince:princess|actor:actress|waiter:waitress|husband:wife|brother:sister|uncle:aunt|nephew:niece|
son:daughter|father:mother|boy:girl|man:woman|grandfather:grandmother|lion:lioness|tiger:tigress|bull:cow|rooster:hen|
stallion:mare|duke:duchess|emperor:empress|god:goddess|hero:heroine|host:hostess|heir:heiress|wizard:witch|monk:nun|
gentleman:lady|groom:bride|steward:stewardess|widower:widow|policeman:policewoman|grandson:granddaughter|stepfather:stepmother|
landlord:landlady|salesman:saleswoman|ram:ewe|drake:duck|count:countess|priest:priestess|businessman:businesswoman"""

SOUNDS = """dog:bark,woof|cat:meow,purr|cow:moo|horse:neigh|sheep:baa,bleat|pig:oink,grunt|duck:quack|lion:roar|wolf:howl|snake:hiss|
bee:buzz|frog:croak,ribbit|owl:hoot|rooster:crow|donkey:bray|mouse:squeak|bird:chirp,tweet|crow:caw|turkey:gobble|goat:bleat|
chicken:cluck|pigeon:coo|elephant:trumpet|hyena:laugh|goose:honk|monkey:chatter|bear:growl"""

AGENTS = """teach:teacher|write:writer|sing:singer|dance:dancer|bake:baker|drive:driver|paint:painter|build:builder|act:actor|
farm:farmer|run:runner|swim:swimmer|read:reader|play:player|lead:leader|work:worker|speak:speaker|travel:traveler,traveller|
win:winner|lose:loser|hunt:hunter|fight:fighter|help:helper|invent:inventor|direct:director|edit:editor|sail:sailor|visit:visitor|
translate:translator|conduct:conductor|design:designer|print:printer|manage:manager|own:owner|buy:buyer|sell:seller|clean:cleaner|
climb:climber|garden:gardener|photograph:photographer|row:rower|ski:skier|surf:surfer|think:thinker|listen:listener|vote:voter|
rule:ruler|begin:beginner|lie:liar|beg:beggar|study:student|cook:cook,chef|steal:thief|instruct:instructor|operate:operator|
supervise:supervisor|compete:competitor|narrate:narrator|create:creator|investigate:investigator"""

COLORS = """grass:green|snow:white|coal:black|blood:red|the sky:blue|a banana:yellow|a carrot:orange|milk:white|a lemon:yellow|a leaf:green|
an elephant:gray,grey|the sun:yellow|a tomato:red|chocolate:brown|a polar bear:white|a raven:black|an emerald:green|a ruby:red|
a sapphire:blue|a flamingo:pink|a frog:green|a strawberry:red|gold:yellow,gold,golden|a pumpkin:orange|ink:black,blue|
a lime:green|a fire engine:red|a plum:purple|lavender:purple|ash:gray,grey|ivory:white|jade:green|rust:red,brown,orange|
spinach:green|cotton:white|a swan:white|charcoal:black|an eggplant:purple|salt:white|a cucumber:green|broccoli:green"""

def pairs(text):
    """`left:right,other` parts as (left, [right, other])."""
    for part in text.replace("\n", "").split("|"):
        left, right = part.split(":")
        yield left.strip(), [one.strip() for one in right.split(",")]
