"""The English words of the demo catalogue: 8 genres of 6 themes, 6 moods, names and sentence patterns."""

from __future__ import annotations

from recsys.dataset.demo.grammar import Language, parse_moods, parse_themes, split_words

_THEMES = """
= crime
heists: a retired safecracker; a getaway driver; an insurance clerk with a grudge
  a casino above the bay; the strongroom of a private bank; a rain-soaked auction house
  rob the bank that ruined a family; steal a painting nobody admits to owning; open one last safe
  vault/lock; diamond/necklace; forgery/canvas; crew/betrayal
country house murders: a village sleuth; a butler with sharp eyes; a retired judge
  a snowed-in manor; a library locked from inside; a vicarage garden
  find out who poisoned the host; prove that the heir is innocent; unmask one of the weekend guests
  poison/teacup; inheritance/testament; alibi/clock; footprint/greenhouse
police work: a tired inspector; a rookie patrol officer; a forensic pathologist
  a run-down precinct; the harbour district; a morgue on the night shift
  catch a serial killer before the next full moon; reopen a cold case; clean up a corrupt squad
  badge/precinct; fingerprint/evidence; informant/wiretap; suspect/interrogation
courtroom trials: a public defender; a prosecutor with doubts; the youngest juror
  a county courthouse; a law firm on the forty-second floor; the visiting room of a prison
  free a client everyone thinks guilty; sway a hostile jury; win an appeal against the state
  verdict/jury; witness/testimony; appeal/sentence; bribe/judge
hacking: a teenage hacker; a bank's security engineer; a blackmailed programmer
  a server farm in the desert; an internet cafe open all night; a start-up's glass office
  trace a ransom paid in crypto; stop a virus from closing the hospitals; leak the files of a data broker
  password/firewall; virus/server; identity/database; ransom/wallet
smuggling: a border guard; a fishing captain deep in debt; a customs dog handler
  a foggy border crossing; a container port; a hidden cove
  bring one last cargo across; find the ring that runs the docks; get a family over the border unseen
  cargo/container; border/checkpoint; boat/cove; cartel/convoy
= science fiction
generation ships: a hydroponics farmer; the ship's last navigator; a teacher born in transit
  a starship three centuries from home; the frozen sleepers' deck; a garden ring under false suns
  keep the reactor alive until landfall; wake the sleeping founders; turn the ark around
  ark/hull; cryosleep/capsule; orchard/airlock; navigator/course
androids: a repair technician; a household robot; a roboticist in hiding
  an assembly plant at night; a care home run by machines; a scrapyard of old models
  prove that a machine can feel; hide a runaway android; rewrite the laws of obedience
  android/circuit; memory/upgrade; robot/factory; soul/algorithm
time travel: a physicist who lost a brother; a clockmaker; a historian with a stolen machine
  a laboratory under the mountains; a railway station outside of time; the same Tuesday again and again
  undo one terrible afternoon; break out of the loop; close the rift before history unravels
  loop/paradox; clock/machine; past/photograph; future/warning
first contact: a linguist; a radio astronomer; an army translator
  a listening station in the desert; a base beneath a silent spacecraft; a glass room between two atmospheres
  answer a message from the stars; learn a language without words; stop the generals from firing first
  signal/antenna; alien/spacecraft; language/translator; silence/telescope
drowned cities: a salvage diver; a climate engineer; a ferry pilot
  a flooded skyline; the sea wall around the old capital; a raft market
  raise the sea wall before the storm season; find water for the rafts; save the seed bank from the flood
  flood/seawall; raft/tide; storm/shelter; seed/greenhouse
asteroid mining: an ore prospector; a union organiser; a drill engineer
  a mining rock beyond Mars; a company dormitory in zero gravity; an ore hauler off its course
  stake a claim before the corporation does; lead a strike in the vacuum; dig out a trapped shift
  ore/drill; claim/prospector; strike/corporation; oxygen/tunnel
= fantasy
dragons: a dragon rider; an egg thief; a stable hand in the royal eyrie
  a smoking mountain; the aerie above the clouds; a valley burnt black
  hatch the last dragon egg; tame a beast that killed the king; fly against an army
  dragon/wing; egg/nest; flame/scale; rider/saddle
schools of magic: a scholarship pupil; a librarian of forbidden books; the worst apprentice of the year
  an academy of wizards; a tower that moves its stairs; the forbidden wing of the library
  pass the final spell examination; break the curse on the headmaster; find out who steals the pupils' magic
  spell/wand; grimoire/library; apprentice/wizard; exam/cauldron
faerie courts: a changeling; a mortal musician; the exiled prince of thorns
  the court of the autumn queen; a market beneath the hill; a ballroom of glass leaves
  win back a stolen name; outdance the faerie queen; end a bargain made in childhood
  bargain/crown; mask/ballroom; thorn/rose; changeling/cradle
sword quests: a farm boy with a broken sword; an oath-bound knight; a mercenary who cannot read
  a ruined fortress; the road through the goblin passes; a temple sunk in the marsh
  bring the sword to the mountain; defeat the dark lord's champion; gather the four lost shards
  sword/shield; oath/knight; prophecy/shard; goblin/fortress
sea magic: a storm caller; a mermaid without a voice; the pilot of a ghost ship
  an island that swims; a reef of singing bones; the palace below the tide
  calm the drowned god; buy back a voice from the sea witch; steer between two worlds
  mermaid/song; tide/witch; pearl/shell; kraken/anchor
talking beasts: a badger with a lantern; a vixen in exile; an owl who keeps the records
  a burrow under the old oak; the parliament of rooks; a frozen river at the edge of the wood
  lead the burrows through the winter; settle the war of the foxes; carry news to the king of stags
  fox/burrow; owl/oak; wolf/winter; badger/lantern
= horror
haunted houses: a medium who lies; a young widow; an estate agent
  a mansion with one room too many; the attic of an orphanage; a hotel closed for the season
  find out who weeps behind the wall; spend one night for the money; lay a dead child to rest
  ghost/attic; seance/medium; mirror/corridor; cellar/whisper
vampires: a night nurse; a count without a shadow; a vampire hunter's daughter
  a castle in the mountains; a blood bank; a crypt under the opera
  destroy the count before dusk; find a cure for the thirst; hide a bitten sister
  blood/fang; coffin/crypt; garlic/stake; bat/nightfall
folk horror: a schoolteacher from the city; an anthropologist; the new parish priest
  a village that keeps the old harvest; a circle of standing stones; an island without a church
  leave before the midsummer feast; learn what the villagers bury; save a child chosen for the rite
  harvest/scarecrow; ritual/bonfire; straw/mask; village/stone
deep sea terrors: a saturation diver; a marine biologist; a submarine cook
  a research station on the sea floor; a trench without a bottom; a submarine with its lights out
  bring up what the sonar saw; seal the hatch; reach the surface before the air runs out
  trench/sonar; submarine/hatch; tentacle/abyss; diver/pressure
zombie plagues: a paramedic; a deserter; a schoolbus driver
  a barricaded supermarket; a quarantined city; a motorway full of empty cars
  reach the last safe zone; find the first patient; get a bus of children out of town
  zombie/barricade; infection/vaccine; quarantine/siren; horde/bunker
cursed toys: a doll mender; a toyshop heiress; a father who works too much
  a toyshop after closing; a nursery painted red; a travelling puppet theatre
  burn the doll that keeps coming home; finish the puppet's play; find the child inside the music box
  doll/nursery; puppet/string; toy/carousel; lullaby/musicbox
= romance
weddings: a wedding planner; a runaway bride; the best man
  a vineyard chapel; a bridal shop; a beach resort booked twice
  stop the wrong wedding; plan an ex's big day; fake an engagement until Sunday
  bride/veil; ring/proposal; bouquet/bridesmaid; vow/chapel
second chances: a divorced architect; a high-school sweetheart; a widower with a daughter
  a class reunion; the house they once shared; a train platform at Christmas
  forgive an old heartbreak; read the letters never sent; ask the one question left open
  reunion/regret; ex/divorce; memory/promise; heart/homecoming
office romance: a junior editor; a rival sales manager; a boss with rules
  a publishing house; a lift stuck between floors; a conference hotel with one room left
  win the promotion without falling in love; hide a kiss from the department; survive the merger together
  office/deadline; boss/contract; rival/promotion; desk/kiss
small town love: a veterinarian; a big-city lawyer; a firefighter
  a town with one traffic light; a hardware store; a Christmas tree farm
  save the family farm; come home for one summer; rebuild the old bandstand
  porch/pickup; farm/neighbour; fair/quilt; vet/puppy
royal romance: a crown prince in disguise; a palace gardener; a reluctant duchess
  a palace in the Alps; a masked ball; a royal yacht
  choose between the throne and love; teach a prince to dance; escape an arranged marriage
  prince/palace; duchess/gown; tiara/throne; ball/slipper
summer flings: a surf instructor; a travel blogger; an au pair
  a Greek island; a beach bar; a campsite by the lake
  make one summer last; forget the flight home; learn to surf and to trust
  beach/sunset; island/ferry; surf/wave; postcard/hammock
= history
Roman legions: a centurion; a slave turned gladiator; a senator's daughter
  the wall at the edge of the empire; the arena in Rome; a winter camp on the Rhine
  bring the lost eagle home; survive the games; warn Rome of the tribes
  legion/eagle; gladiator/arena; senate/dagger; emperor/toga
Tudor court: a lady-in-waiting; a court painter; the queen's spy
  the palace at Hampton; the Tower of London; a priory about to be dissolved
  keep one's head under a jealous king; smuggle a letter to the queen; marry off a troublesome sister
  queen/scaffold; ruff/portrait; spy/cipher; crown/heir
wartime codebreakers: a crossword champion; a radio operator; a nurse with a double life
  a manor full of typewriters; a bombed-out street in London; a listening post on the coast
  break the submarine code; find the mole among the clerks; keep a secret from a fiance at the front
  code/cipher; radio/blackout; bomber/telegram; mole/typewriter
Silk Road caravans: a camel driver; a silk merchant's widow; a monk with stolen scrolls
  an oasis on the edge of the desert; a caravanserai; the bazaar of Samarkand
  carry silk across the desert; bring the scrolls to the monastery; outwit the horse raiders
  caravan/camel; silk/merchant; oasis/dune; scroll/monastery
gold rush: a prospector from Ohio; a saloon singer; a Chinese railway worker
  a mining camp in the Sierra; a saloon on the frontier; a frozen river in the Klondike
  strike gold before the snow; find a partner who stole the map; build a town out of mud
  nugget/pan; saloon/sheriff; frontier/wagon; pickaxe/river
samurai: a masterless samurai; a swordsmith; a geisha who hears everything
  a castle under siege; a dojo in the cedar woods; the pleasure quarter of Edo
  avenge a fallen lord; forge the perfect blade; serve two masters until spring
  katana/blade; shogun/castle; ronin/duel; geisha/fan
= sport
football: a teenage striker; a goalkeeper past thirty; a coach on the edge
  a stadium in the rain; a back-street pitch; the dressing room at half-time
  keep the club from relegation; score in the cup final; win back the captain's armband
  goal/stadium; coach/league; striker/penalty; derby/scarf
boxing: a heavyweight with a glass jaw; a dockside trainer; a girl who fights in secret
  a gym above a laundry; the ring in Madison Square; a prison boxing club
  go twelve rounds with the champion; train one last contender; throw no fight for the mob
  glove/ring; champion/belt; knockout/bell; trainer/gym
cycling: a domestique; a bicycle courier; a doping doctor with regrets
  a mountain stage in the Pyrenees; the velodrome; cobbled roads in Flanders
  win the yellow jersey; ride clean among cheats; carry the team leader over the pass
  bicycle/peloton; jersey/sprint; mountain/descent; wheel/breakaway
climbing: a sherpa guide; a free solo climber; a geologist afraid of heights
  the north face; a storm camp at eight thousand metres; a granite wall in the valley
  reach the summit without oxygen; bring down a lost partner; climb the wall that killed a father
  summit/rope; avalanche/glacier; ledge/piton; basecamp/sherpa
chess: a child prodigy; a washed-up grandmaster; a prison chess champion
  a tournament hall in Reykjavik; a park with stone tables; an orphanage basement
  beat the world champion; play thirty boards blindfold; find out who taught the machine
  queen/gambit; pawn/endgame; grandmaster/clock; checkmate/board
figure skating: a pair skater without a partner; an ice rink caretaker; a former Olympic hopeful
  an ice rink at dawn; the Olympic arena; a frozen pond
  land the quadruple jump; skate again after the fall; trust a new partner in four weeks
  skate/ice; jump/judge; partner/lift; rink/sequin
= food
bakeries: a night baker; an heir to a sourdough starter; a pastry chef on the run
  a corner bakery; a flour mill on the river; a kitchen that smells of cinnamon
  save the bakery from the landlord; keep a hundred-year-old starter alive; bake the perfect croissant
  bread/oven; sourdough/flour; croissant/butter; cake/cinnamon
street food: a noodle stall owner; a taco truck cook; a food inspector
  a night market; a food truck by the stadium; a hawker centre
  win the best stall of the year; find grandmother's dumpling recipe; beat the chain across the street
  noodle/broth; taco/truck; dumpling/steamer; chilli/wok
wine making: a winemaker's estranged son; a sommelier who lost the sense of smell; a grape picker
  a vineyard on a hillside; a cellar of old barrels; a harvest threatened by hail
  rescue the harvest; expose a forged vintage; blend a wine to remember a mother by
  grape/vineyard; barrel/cellar; cork/vintage; harvest/bottle
tea houses: a tea master; a herbalist; a potter with one hand
  a tea house in the mist; a terrace of tea bushes; a garden behind the temple
  keep the last tea house open; brew a tea that brings back a memory; teach an impatient pupil the ceremony
  tea/kettle; ceremony/teabowl; leaf/terrace; garden/bamboo
cheese making: a mountain cheesemaker; a goat herd; an unhappy accountant who buys a dairy
  an alpine dairy; a cave of ripening wheels; a farmers' market
  save the village dairy; ripen a wheel worth a medal; learn to milk forty goats
  cheese/rind; goat/pasture; milk/churn; cave/wheel
restaurant kitchens: a sous-chef; a dishwasher who can cook; a food critic in disguise
  a kitchen in the heat of service; a bistro with three tables; a hotel dining room
  earn back a lost star; open a bistro with no money; survive a season under a raging chef
  chef/knife; menu/bistro; star/critic; sauce/apron
"""

_MOODS = """
cosy
  Warm and gentle, made for a rainy afternoon and a pot of tea.
  A comforting read in which everyone finds a place by the fire.
  Cosy and kind, with good neighbours and a happy ending.
dark
  Bleak and violent, without mercy down to the last page.
  A dark, brutal book that leaves nobody clean.
  Grim and bitter, for readers who do not need a happy ending.
funny
  Laugh-out-loud funny, with a joke on every page.
  A witty comedy of errors, full of absurd mishaps.
  Silly in the best sense, with banter that never stops.
tender
  A quiet, tender book about people who find it hard to speak.
  Heartfelt and moving; keep a handkerchief close.
  Gentle and sad in turn, it looks closely at love and loss.
tense
  Breathless and fast, with a cliffhanger at the end of every chapter.
  A nail-biting race against the clock.
  Full of twists and suspense, impossible to put down.
thoughtful
  Slow and thoughtful, full of questions that stay open.
  A philosophical book about guilt, chance and free will.
  Calm, learned and rich in ideas, it rewards patience.
"""

ENGLISH = Language(
    themes=parse_themes(_THEMES, ":", ";"),
    moods=parse_moods(_MOODS),
    adjectives=split_words(
        "Silent Crimson Broken Hidden Second Golden Hollow Burning Lost Gentle Bitter Paper Northern "
        "Early Crooked Secret Borrowed Winter Distant Final Narrow Stubborn Unlikely Patient Copper "
        "Velvet Wandering Forgotten Midnight Honest Restless Salted Blue Wicked Shallow Seventh "
        "Painted Weary"
    ),
    given_names=split_words(
        "Mara Tobias Ilse Joren Petra Anselm Noor Callum Wren Osric Lidia Hamish Yara Benedek Saskia "
        "Emeka Thora Matteo Ines Ravi Greta Silas Amina Leopold Freya Dario Hana Casimir Odette Kofi "
        "Linnea Piotr"
    ),
    family_names=split_words(
        "Quill Ferrow Vantongeren Ashgrove Okonwe Marlash Brindle Castellow Dunmarrow Tessaly "
        "Harrowgate Lindqvar Pemberlin Sorrenti Wexcombe Yarrowby Zelnick Abernant Calloran "
        "Drummerel Eskander Fenwright Gallowell Hollin Imrath Jessamy Kestermann Lorimar Mundavi "
        "Norrel Ostwick Pellegrand"
    ),
    name_joint=" ",
    town_heads=split_words("Hal Mar Brae Os Thorn Wil Esk Dun Pel Ash Grim Lor Cald Fen Rook Sel Tar Vel Wyn Yarn"),
    town_tails=split_words("mere wick ford haven holm stead bury moor gate cross combe fell"),
    titles=(
        "The {adjective} {noun}",
        "The {noun} of {town}",
        "The {noun} and the {other}",
        "{adjective} {noun}, {adjective2} {other}",
        "{person} and the {adjective} {noun}",
        "Beyond the {adjective} {noun}",
        "The {adjective} {other} of {town}",
        "One {adjective2} Year in {town}: The {noun}",
    ),
    openings=(
        "{person}, {hero}, comes to {place} near {town} to {aim}.",
        "In {place}, {hero} named {person} sets out to {aim}.",
        "{person} never planned to {aim}, but for {hero} in {place} there is no other way.",
        "{person} is {hero}, and the only way out of {place} is to {aim}.",
    ),
    turns=(
        "Everything turns on the {noun}, and on who reaches the {other} first.",
        "When the {noun} goes missing, the {other} is the only trace left.",
        "The {noun} was meant to stay a secret; now the {other} puts everyone at risk.",
        "Nobody in {town} speaks about the {other}, least of all about the {noun}.",
        "This is a story about the {noun}, the {other} and what they cost.",
    ),
    asides=(
        "There is a touch of {second} in it, down to the {second_noun}.",
        "Readers of {second} will meet the {second_noun} they love here too.",
    ),
    sequels=(
        "Book {part} of the {town} series brings {person} back once more.",
        "This is part {part} of the {town} series, with {person} as you remember.",
    ),
    sentence_joint=" ",
)
