//! Countries, continents and the groups that rules name. A place decides what is near; these decide what
//! is allowed.
//!
//! A code of two letters names a country and nothing else: `EU` is a group here, `AS` is American Samoa,
//! and continents are written out (`asia`), because seven of the usual continent codes are also codes of
//! countries or groups.

use std::fmt;
use std::str::FromStr;

/// A country by its ISO 3166-1 alpha-2 code, in upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

/// Why a text is not a country, continent or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountryError {
    /// Not two ASCII letters.
    #[error("is not a country code of two letters, such as SG")]
    Code,
    /// No continent has this name.
    #[error(
        "is not a continent; write africa, antarctica, asia, europe, north-america, oceania or south-america"
    )]
    Continent,
    /// No group has this name.
    #[error("is not a group of countries; write EU or EEA")]
    Group,
}

/// A continent, as GeoNames and MaxMind divide the Earth (Russia and Cyprus in Europe, Turkey in Asia).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Continent {
    /// Africa.
    Africa,
    /// Antarctica and the islands around it.
    Antarctica,
    /// Asia.
    Asia,
    /// Europe.
    Europe,
    /// North America with Central America and the Caribbean.
    NorthAmerica,
    /// Oceania.
    Oceania,
    /// South America.
    SouthAmerica,
}

/// Countries that law treats as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountryGroup {
    /// The European Union.
    Eu,
    /// The European Economic Area: the Union with Iceland, Liechtenstein and Norway.
    Eea,
}

/// The 27 members of the European Union since 1 February 2020, when the United Kingdom left
/// (source: european-union.europa.eu, list of countries, read in 2026).
const EU_MEMBERS: &str =
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK";

/// Parts of members in which the Union's law holds and that have codes of their own: Åland, and the
/// outermost regions of France (Articles 349 and 355 of the Treaty on the Functioning of the European
/// Union, as amended to 2014).
const EU_TERRITORIES: &str = "AX GF GP MF MQ RE YT";

/// Members of the European Economic Area that are not of the Union, since 1995
/// (source: efta.int, EEA agreement, read in 2026).
const EEA_OTHERS: &str = "IS LI NO";

/// Every code of ISO 3166-1 (2026) and `XK`, by GeoNames' continent.
const CONTINENTS: [(Continent, &str); 7] = [
    (
        Continent::Africa,
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR \
         MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    (Continent::Antarctica, "AQ BV GS HM TF"),
    (
        Continent::Asia,
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN \
         MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        Continent::Europe,
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU \
         LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        Continent::NorthAmerica,
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM \
         PR SV SX TC TT US VC VG VI",
    ),
    (
        Continent::Oceania,
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    (
        Continent::SouthAmerica,
        "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
    ),
];

impl CountryCode {
    /// Two ASCII letters of either case.
    ///
    /// # Errors
    /// When `text` is anything else. Whether a country of that code exists is not asked: codes come and go.
    pub const fn new(text: &str) -> Result<Self, CountryError> {
        match *text.as_bytes() {
            [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                Ok(Self([
                    first.to_ascii_uppercase(),
                    second.to_ascii_uppercase(),
                ]))
            }
            _ => Err(CountryError::Code),
        }
    }

    /// The two letters, in upper case.
    pub const fn letters(self) -> [u8; 2] {
        self.0
    }

    /// Where the country lies; `None` for a code that ISO 3166-1 does not give to a country.
    pub fn continent(self) -> Option<Continent> {
        let found = CONTINENTS.iter().find(|(_, codes)| self.is_in(codes));
        found.map(|(continent, _)| *continent)
    }

    fn is_in(self, codes: &str) -> bool {
        codes
            .as_bytes()
            .chunks(3)
            .any(|code| code.starts_with(&self.0))
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(formatter, "{}{}", char::from(first), char::from(second))
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl FromStr for CountryCode {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, CountryError> {
        Self::new(text)
    }
}

impl Continent {
    /// Every continent, by name.
    pub const ALL: [Self; 7] = [
        Self::Africa,
        Self::Antarctica,
        Self::Asia,
        Self::Europe,
        Self::NorthAmerica,
        Self::Oceania,
        Self::SouthAmerica,
    ];

    /// The name as rules write it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Africa => "africa",
            Self::Antarctica => "antarctica",
            Self::Asia => "asia",
            Self::Europe => "europe",
            Self::NorthAmerica => "north-america",
            Self::Oceania => "oceania",
            Self::SouthAmerica => "south-america",
        }
    }

    /// From the two letters that location databases write, such as `EU` for Europe.
    pub fn from_database_code(code: &str) -> Option<Self> {
        Some(match code {
            "AF" => Self::Africa,
            "AN" => Self::Antarctica,
            "AS" => Self::Asia,
            "EU" => Self::Europe,
            "NA" => Self::NorthAmerica,
            "OC" => Self::Oceania,
            "SA" => Self::SouthAmerica,
            _ => return None,
        })
    }
}

impl fmt::Display for Continent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Continent {
    type Err = CountryError;

    /// Case aside; a blank or `_` may stand for `-`.
    fn from_str(text: &str) -> Result<Self, CountryError> {
        let text = text.to_ascii_lowercase().replace([' ', '_'], "-");
        let found = Self::ALL
            .into_iter()
            .find(|continent| continent.name() == text);
        found.ok_or(CountryError::Continent)
    }
}

impl CountryGroup {
    /// Every group.
    pub const ALL: [Self; 2] = [Self::Eu, Self::Eea];

    /// The name as rules write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eu => "EU",
            Self::Eea => "EEA",
        }
    }

    /// Whether the group's law holds in `country`: its members, and parts of them with codes of their own.
    pub fn contains(self, country: CountryCode) -> bool {
        let is_eu = country.is_in(EU_MEMBERS) || country.is_in(EU_TERRITORIES);
        match self {
            Self::Eu => is_eu,
            Self::Eea => is_eu || country.is_in(EEA_OTHERS),
        }
    }
}

impl fmt::Display for CountryGroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for CountryGroup {
    type Err = CountryError;

    /// Case aside.
    fn from_str(text: &str) -> Result<Self, CountryError> {
        let found = Self::ALL
            .into_iter()
            .find(|group| group.name().eq_ignore_ascii_case(text));
        found.ok_or(CountryError::Group)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn country(code: &str) -> CountryCode {
        CountryCode::new(code).expect("a valid code")
    }

    fn members(group: CountryGroup) -> usize {
        let codes = CONTINENTS.iter().flat_map(|(_, codes)| codes.split(' '));
        codes.filter(|code| group.contains(country(code))).count()
    }

    #[test]
    fn code_is_two_letters_of_either_case() {
        assert_eq!(country("sg"), country("SG"));
        assert_eq!(country("sg").to_string(), "SG");
        for wrong in ["", "S", "SGP", "S1", "é", "S "] {
            assert_eq!(
                CountryCode::new(wrong),
                Err(CountryError::Code),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn every_code_lies_on_one_continent() {
        let codes: Vec<&str> = CONTINENTS
            .iter()
            .flat_map(|(_, codes)| codes.split(' '))
            .collect();
        let distinct: BTreeSet<&str> = codes.iter().copied().collect();
        // ISO 3166-1 has 249 codes; XK is Kosovo's by custom.
        assert_eq!((codes.len(), distinct.len()), (250, 250));
        assert!(codes.iter().all(|code| code.len() == 2));
        assert_eq!(country("SG").continent(), Some(Continent::Asia));
        assert_eq!(country("ZW").continent(), Some(Continent::Africa));
        assert_eq!(country("ZZ").continent(), None);
        // The end of one code and the start of the next are no code.
        assert_eq!(country("QB").continent(), None);
    }

    #[test]
    fn groups_hold_their_members_and_their_territories() {
        assert_eq!(EU_MEMBERS.split(' ').count(), 27);
        assert_eq!(members(CountryGroup::Eu), 27 + 7);
        assert_eq!(members(CountryGroup::Eea), 27 + 7 + 3);
        assert!(CountryGroup::Eu.contains(country("RE")));
        for outside in ["GB", "CH", "NO", "US"] {
            assert!(!CountryGroup::Eu.contains(country(outside)), "{outside}");
        }
        assert!(CountryGroup::Eea.contains(country("NO")));
        assert!(!CountryGroup::Eea.contains(country("CH")));
    }

    #[test]
    fn names_are_read_back() {
        for continent in Continent::ALL {
            assert_eq!(continent.name().parse(), Ok(continent));
        }
        assert_eq!("North America".parse(), Ok(Continent::NorthAmerica));
        assert_eq!("EU".parse::<Continent>(), Err(CountryError::Continent));
        for group in CountryGroup::ALL {
            assert_eq!(group.name().to_lowercase().parse(), Ok(group));
        }
        assert_eq!("EFTA".parse::<CountryGroup>(), Err(CountryError::Group));
    }
}
