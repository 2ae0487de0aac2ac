"""What the names of raw columns and files say, in the languages that exports come in.

A name alone decides nothing: it adds to what the values say, see `roles`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Role -> words that name it, each in lower case without accents; a name matches if one of its words, or the whole name
# without separators, is among them. Chinese, Japanese and Korean words match as parts of a name.
WORDS: dict[str, str] = {
    "user": (
        "user users userid usr uid visitor visitorid customer customers client clients member members memberid "
        "patron patronid reader readers viewer listener player buyer purchaser shopper account subscriber "
        "reviewer reviewerid reviewername borrower cardholder consumer person people profile login username "
        "handle nutzer benutzer kunde kunden kundennr kundennummer kundenid leser lesernr lesernummer mitglied "
        "besucher kaufer utilisateur acheteur lecteur abonne adherent usuario usuaria cliente comprador lector "
        "socio utente lettore leitor gebruiker klant lezer uzytkownik klient bruker kund anvandare polzovatel "
        "pokupatel kupujici zakaznik musteri kullanici fullvisitorid pseudo cust custid customerid clientid "
        "steamid пользователь клиент покупатель читатель 用户 客户 顾客 会员 读者 买家 ユーザー ユーザ 顧客 "
        "会員 사용자 고객 회원"
    ),
    "email": "email mail emailaddress epost correo courriel 邮箱 メール",
    "session": "session sessionid sitzung sid visit visitid cookie cookieid device deviceid 会话",
    "item": (
        "item items itemid product products productid produkt produkte artikel artikelnr artikelnummer article "
        "articles articleid sku skuid asin parentasin isbn isbn10 isbn13 ean upc gtin stock stockcode book books "
        "bookid movie movies movieid film films filmid track trackid song songid artist artistid album game games "
        "gameid appid app news newsid story storyid video videoid listing listingid recipe recipeid business "
        "businessid gmap poi place venue course courseid title titleid biblio biblionumber bibid bibnumber "
        "barcode medium mediennummer mediumnr material document doc docid paper paperid content contentid anime "
        "animeid show showid episode post postid job jobid offer offerid hotel hotelid restaurant dish menu ware "
        "warennummer produit articulo producto libro prodotto articolo produto artigo livro livre boek bok kniha "
        "ksiazka tovar kniga varenr vare urun kitap lineitem variant handle uri beer beerid wine tconst tmdbid "
        "imdbid imdb tmdb mbid товар книга фильм 商品 物品 产品 货号 图书 文章 视频 电影 新闻 歌曲 商品番号 "
        "品番 作品 상품 아이템 도서"
    ),
    "time": (
        "time timestamp ts date datetime day when at created createdat purchased purchasedate orderdate ordered "
        "ordertime eventtimestamp eventtime eventdate unixtime unix epoch utc reviewtime unixreviewtime "
        "reviewdate watched "
        "watcheddate listened played playedat read rated borrowed checkout checkedout issued issuedate loan "
        "loandate started start datum zeit zeitpunkt zeitstempel uhrzeit tag kaufdatum bestelldatum bestellzeit "
        "ausleihe ausleihdatum leihdatum rechnungsdatum invoicedate fecha hora dia horodatage heure jour data ora "
        "giorno tid dato tidpunkt tijd tijdstip tarih zaman dt tdat endtime vremya hour saledate transactiondate "
        "visited дата время 时间 日期 下单时间 時間 日時 日付 購入日 시간 날짜 일시 created_utc"
    ),
    "late_time": (
        "due return returned returndate returneddate rueckgabe ruckgabe ruckgabedatum rueckgabedatum birth "
        "birthday birthdate dob born update updated updatedat modified modifiedat modifiedon ship shipped "
        "shipdate delivery delivered fulfilled expires expiry expiration expire end ended until cancelled "
        "canceled refunded closed registered registration signup joined lastlogin lieferdatum versanddatum "
        "faellig fallig geburtsdatum retour devolucion entrega scadenza rientro processed paid release released "
        "published publication premiere 到期 归还 返却 生日"
    ),
    "event": (
        "event events eventname eventtype eventkind action actiontype type kind behavior behaviour interaction "
        "interactiontype activity verb ereignis aktion typ vorgang evenement accion evento azione acao "
        "gebeurtenis handelse shelf exclusiveshelf status orderstatus financialstatus state zustand estado etat "
        "stato feedback 行为 事件 类型 动作 状态 行動 イベント 이벤트 событие действие"
    ),
    "status": (
        "status orderstatus financialstatus paymentstatus state zustand bestellstatus estado etat stato statut 状态"
    ),
    "rating": (
        "rating ratings rate rated star stars score scores overall note noten bewertung sterne punkte puntuacion "
        "calificacion valoracion voto voti avaliacao nota waardering betyg ocena myrating bookrating userrating "
        "grade оценка рейтинг 评分 评价 星级 分数 評価 評点 평점 별점"
    ),
    "quantity": (
        "quantity qty quant units unit pieces menge anzahl stuck stueck stk quantite cantidad quantita quantidade "
        "aantal antal ilosc mnozstvi kolichestvo adet orderqty lineitemquantity количество 数量 件数 个数 수량"
    ),
    "count": (
        "count counts plays playcount listens listencount views viewcount clicks hours hoursplayed playtime times "
        "frequency freq visits total watched loans checkouts reads readcount ecoutes reproducciones ascolti "
        "wiedergaben stunden spielzeit weight 次数 播放次数 再生回数 횟수"
    ),
    "other_number": (
        "price amount sales revenue cost total subtotal tax discount profit margin fee shipping preis betrag "
        "umsatz prix montant precio importe prezzo preco prijs prisforpris unitprice helpful votes helpfulvote "
        "helpfulvotes age zip zipcode postal postcode lat lon latitude longitude phone year average averagerating "
        "avg ratingnumber ratingcount msplayed duration useful funny cool rank number row rowid index "
        "discountpercent temperature length runtime 价格 金额 单价 价钱 価格 가격"
    ),
    "order": (
        "order ordinal pos position seq sequence step idx index ordernumber ordernr rank nr no lfd lfdnr "
        "reihenfolge turn 序号 顺序 位置"
    ),
    "transaction": (
        "order orderid ordernumber ordernr orderno invoice invoiceno invoicenr invoiceid invoicenumber "
        "transaction transactionid receipt receiptid basket basketid bestellung bestellnr bestellnummer rechnung "
        "rechnungsnr belegnr bon commande facture pedido factura ordine fattura loanid issueid impression "
        "impressionid eventid reviewid rowid row rowno ratingid 订单 订单号 注文番号 주문번호"
    ),
    "title": (
        "title titles titel titre titulo titolo name names productname producttitle itemname movietitle booktitle "
        "filmtitle trackname tracktitle artistname bookname prodname bezeichnung produktname artikelname "
        "artikelbezeichnung nom nombre nome naam navn namn nazwa nazev libelle designation denominacion "
        "itemdescription headline caption label originaltitle displayname traname artname gamename nazvanie "
        "naimenovanie isim baslik название наименование 标题 名称 书名 片名 商品名 商品名称 題名 タイトル 品名 "
        "名前 제목 이름 상품명"
    ),
    "description": (
        "description descriptions desc text abstract summary overview plot synopsis body content blurb detail "
        "details detaildesc about longdescription shortdescription bodyhtml story teaser review beschreibung "
        "inhalt kurzbeschreibung descripcion resumen resume descrizione descricao beschrijving omschrijving "
        "beskrivning opis popis opisanie aciklama sinopsis trama описание 描述 简介 介绍 内容 内容简介 详情 "
        "説明 あらすじ 概要 설명 내용"
    ),
    "tags": (
        "tags tag genre genres category categories keyword keywords topic topics subject subjects labels themes "
        "listedin shelves bookshelves mechanics schlagworte schlagwort kategorie kategorien sachgebiet rubrik "
        "motsclefs categorie rayon categoria categorias generi genero etiquetas palabras rubriek kategoria "
        "kategorier emne kategori zhanr maincategory subcategory collections producttype department жанр "
        "категория теги 标签 类别 分类 类目 题材 ジャンル カテゴリ カテゴリー タグ 장르 카테고리 태그"
    ),
    "creator": (
        "author authors writer creator artist artists artistname artname director directors brand vendor "
        "manufacturer publisher autor autoren verfasser urheber marke hersteller verlag auteur auteurs marque "
        "editeur realisateur autora marca autore regista editore forfatter schrijver merk avtor izdatelstvo yazar "
        "developer designer studio store seller maker producer bookauthor composer byline journalist автор бренд "
        "издательство 作者 品牌 导演 出版社 歌手 著者 ブランド 監督 저자 브랜드 감독"
    ),
    "available": (
        "available availability instock isavailable active isactive published isopen enabled live onsale forsale "
        "verfuegbar verfugbar lieferbar aktiv disponible dispo actif activo disponibile attivo ativo beschikbaar "
        "в_наличии 上架 在售 有货 在庫 판매중"
    ),
    "created": (
        "created createdat createdon creationdate added addedat dateadded published publishedat publishdate "
        "publishedon publicationdate pubdate releasedate released release listedat launched launchdate "
        "onlinesince firstseen available_from datepublished angelegt erstellt erschienen erscheinungsdatum "
        "veroeffentlicht dateparution ajout creado publicado aggiunto 创建时间 发布时间 上架时间 登録日 公開日 등록일"
    ),
    "year": "year yearpublished releaseyear startyear publicationyear jahr annee ano anno jaar ar rok god 年份 年 연도",
    "language": "language lang langue sprache idioma lingua taal jezyk 语言 言語 언어",
    "private": (
        "phone telephone telefon address street city zip postal country state province gender sex age occupation "
        "firstname lastname surname birth password ip latitude longitude lat lon company billing shipping "
        "customername vorname nachname strasse ort plz adresse ville pays ciudad pais geschlecht alter beruf"
    ),
    "link": (
        "url uri link image img imageurl thumbnail picture cover poster photo href bild foto imagen video videos src"
    ),
}
# A name that holds one of these is rarely the id of a thing.
_ID_WORDS = "id ids nr no nummer number num key code uuid guid sku isbn asin handle ref 编号 番号 번호 号"
ID_WORDS = frozenset(_ID_WORDS.split())
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def plain(name: str) -> str:
    """Return a name in lower case without accents."""
    decomposed = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).lower()


@cache
def split_name(name: str) -> tuple[str, ...]:
    """Return the words of a name: `customerId`, `customer_id` and `Customer ID` are customer and id."""
    spaced = _CAMEL.sub(" ", name)
    return tuple(word for word in re.split(r"[\W_]+", plain(spaced)) if word)


@cache
def _words(role: str) -> frozenset[str]:
    return frozenset(plain(word) for word in WORDS[role].split())


@cache
def match_name(name: str, role: str) -> float:
    """Return from 0 to 1 how strongly a column's name says that it has a role.

    1: the name is a word of the role, perhaps with a word for id; .7: its last word is; .5: another word is. Of a
    nested name such as `items.item_id` the last part counts, and the parts before it a little.
    """
    known = _words(role)
    parents, _, own = name.rpartition(".")
    words = split_name(own)
    if parents and words and all(word in ID_WORDS for word in words):
        # `customer.id` is a customer.
        return match_name(parents, role)
    if not words:
        return 0.0
    compact = "".join(words)
    core = tuple(word for word in words if word not in ID_WORDS) or words
    if compact in known or "".join(core) in known or (len(core) == 1 and core[0] in known):
        return 1.0
    if any(not word.isascii() and word in compact for word in known):
        return 0.9
    if core[-1] in known:
        return 0.7
    if any(word in known for word in core):
        return 0.5
    return 0.3 if any(word in known for word in split_name(parents)) else 0.0


def is_id_name(name: str) -> bool:
    """Return whether a name says that its column holds ids or codes."""
    words = split_name(name.rpartition(".")[2])
    return any(word in ID_WORDS for word in words) or any(
        word.endswith(("id", "nr", "code")) and len(word) > 3 for word in words
    )


# Words of file names: what the rows are, and copies of a part of the data.
FILE_WORDS: dict[str, str] = {
    "interactions": (
        "actions ausleihen behaviors behaviours bestellungen checkouts clicks commandes data diary ereignisse "
        "event events feedback history interaction interactions invoices kaufe listens loans log logs order "
        "orders ordini pedidos plays prets purchases rating ratings review reviews sales transactions vendite "
        "ventas verkaufe views"
    ),
    "items": (
        "anime articles artikel artists beers book books bucher business catalog catalogue films games item items "
        "katalog libros listings livres medien meta metadata movie movies news prodotti product productos "
        "products produits produkte recipes songs titles tracks"
    ),
    "users": "clients customer customers kunden leser members patrons people profiles readers user users",
    "part": (
        "backup base copy dev example examples holdout old sample small split subset test toy train training val "
        "valid validation"
    ),
}


def match_file(path: str, kind: str) -> bool:
    """Return whether a file's own name, or that of its folder, has a word of `FILE_WORDS[kind]`."""
    parts = [part for part in path.split("/") if part]
    words = {word for part in parts[-1:] for word in split_name(part)}
    stems = words | {word.rstrip("0123456789") for word in words}
    return bool(stems & set(FILE_WORDS[kind].split()))
