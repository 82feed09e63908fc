//! Whether every record was handled exactly once: what the services say, against what the topics hold.

use std::{collections::BTreeMap, fmt};

/// So many of a fault's numbers are named.
const NAMED_MAX: usize = 5;

/// How many records, and the sum of the CRC-32s of their values, which no order of theirs changes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The sum of their checksums.
    pub checksum: u64,
}

impl Tally {
    /// Counts a record.
    pub fn add(&mut self, value: &[u8]) {
        self.count += 1;
        self.checksum = self.checksum.wrapping_add(u64::from(crc32fast::hash(value)));
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

/// What a topic holds.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// Its records.
    pub tally: Tally,
    /// The numbers that their values begin with, in any order.
    pub numbers: Vec<u64>,
}

impl Topic {
    /// Takes in a record.
    pub fn add(&mut self, value: &[u8]) {
        self.tally.add(value);
        let digits = value.split(|&byte| byte == b' ').next().unwrap_or_default();
        self.numbers.extend(std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok()));
    }
}

/// What the members of a service say, added up.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its name.
    pub service: String,
    /// What it has read, of each topic that it is to read.
    pub read: BTreeMap<String, Tally>,
    /// Where it writes to, and what it has written.
    pub wrote: (String, Tally),
}

/// All that is known in the end.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The topics whose records have numbers, and how many each must have: from 0, each once.
    pub numbered: BTreeMap<String, u64>,
    /// What every topic holds, read back.
    pub topics: BTreeMap<String, Topic>,
    /// The services that took part.
    pub accounts: Vec<Account>,
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A group has handled another number of a topic's records than there are, or others.
    Handled {
        /// The group.
        group: String,
        /// What it reads.
        topic: String,
        /// What it says.
        said: Tally,
        /// What there is.
        held: Tally,
    },
    /// A topic does not hold what its writers say that they wrote.
    Written {
        /// The topic.
        topic: String,
        /// What its writers say.
        said: Tally,
        /// What there is.
        held: Tally,
    },
    /// Records that are not there.
    Missing {
        /// The topic.
        topic: String,
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// Records that are there more than once, or beyond the last.
    Surplus {
        /// The topic.
        topic: String,
        /// Their numbers.
        numbers: Vec<u64>,
    },
}

/// What was found right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The group.
    pub group: String,
    /// What it reads.
    pub topic: String,
    /// What it has handled.
    pub handled: Tally,
}

/// Holds what the services say against what the topics hold: each group has handled each record of its topics exactly once, each topic
/// holds what was written to it, and each order is in each of its topics exactly once.
pub fn audit(facts: &Facts) -> Result<Vec<Finding>, Vec<Fault>> {
    let held = |topic: &str| facts.topics.get(topic).map(|topic| topic.tally).unwrap_or_default();
    let (mut findings, mut faults) = (Vec::new(), Vec::new());
    for account in &facts.accounts {
        for (topic, &said) in &account.read {
            let (group, topic, held) = (account.service.clone(), topic.clone(), held(topic));
            match said == held {
                true => findings.push(Finding { group, topic, handled: said }),
                false => faults.push(Fault::Handled { group, topic, said, held }),
            }
        }
    }
    let mut written: BTreeMap<&str, Tally> =
        facts.topics.keys().map(|topic| (topic.as_str(), Tally::default())).collect();
    for account in &facts.accounts {
        *written.entry(&account.wrote.0).or_default() += account.wrote.1;
    }
    for (topic, said) in written {
        let held = held(topic);
        if said != held {
            faults.push(Fault::Written { topic: topic.to_owned(), said, held });
        }
    }
    for (topic, &count) in &facts.numbered {
        let numbers = facts.topics.get(topic).map(|topic| topic.numbers.as_slice()).unwrap_or_default();
        faults.extend(each_once(topic, numbers, count));
    }
    if faults.is_empty() { Ok(findings) } else { Err(faults) }
}

/// Whether these are the numbers below `count`, each once.
fn each_once(topic: &str, numbers: &[u64], count: u64) -> Vec<Fault> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let (mut missing, mut surplus) = (Vec::new(), Vec::new());
    let mut next = 0;
    for number in sorted {
        if number < next || number >= count {
            surplus.push(number);
            continue;
        }
        missing.extend(next..number);
        next = number + 1;
    }
    missing.extend(next..count);
    let topic = || topic.to_owned();
    let missing = (!missing.is_empty()).then(|| Fault::Missing { topic: topic(), numbers: missing });
    let surplus = (!surplus.is_empty()).then(|| Fault::Surplus { topic: topic(), numbers: surplus });
    missing.into_iter().chain(surplus).collect()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records of checksum {:x}", self.count, self.checksum)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handled { group, topic, said, held } => {
                write!(f, "group `{group}` has handled {said} of `{topic}`, which holds {held}")
            }
            Self::Written { topic, said, held } => {
                write!(f, "`{topic}` holds {held}, but {said} were written to it")
            }
            Self::Missing { topic, numbers } => write!(f, "`{topic}` lacks {}", Numbers(numbers)),
            Self::Surplus { topic, numbers } => {
                write!(f, "`{topic}` has {} once too often", Numbers(numbers))
            }
        }
    }
}

/// The first of them, and how many there are beside.
struct Numbers<'a>(&'a [u64]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self.0.iter().take(NAMED_MAX).map(u64::to_string).collect();
        write!(f, "{}", named.join(", "))?;
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            others => write!(f, " and {others} others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: u64 = 100;

    fn order(number: u64) -> Vec<u8> {
        format!("{number} 3 apples").into_bytes()
    }

    fn topic(records: impl IntoIterator<Item = Vec<u8>>) -> Topic {
        let mut topic = Topic::default();
        records.into_iter().for_each(|record| topic.add(&record));
        topic
    }

    fn tally(records: impl IntoIterator<Item = Vec<u8>>) -> Tally {
        topic(records).tally
    }

    /// Orders that a gateway wrote, and pricing has read and written again.
    fn facts() -> Facts {
        let orders = topic((0..ORDERS).map(order));
        let gateway = Account {
            service: "gateway".into(),
            wrote: ("orders".into(), orders.tally),
            ..Account::default()
        };
        let pricing = Account {
            service: "pricing".into(),
            read: [("orders".to_owned(), orders.tally)].into(),
            wrote: ("priced".into(), orders.tally),
        };
        Facts {
            numbered: [("orders".to_owned(), ORDERS), ("priced".to_owned(), ORDERS)].into(),
            topics: [("orders".to_owned(), orders.clone()), ("priced".to_owned(), orders)].into(),
            accounts: vec![gateway, pricing],
        }
    }

    fn faults(facts: &Facts) -> Vec<String> {
        audit(facts).expect_err("something was planted").iter().map(Fault::to_string).collect()
    }

    #[test]
    fn what_was_handled_once_passes() {
        let held = tally((0..ORDERS).map(order));
        let finding = Finding { group: "pricing".into(), topic: "orders".into(), handled: held };
        assert_eq!(audit(&facts()), Ok(vec![finding]));
    }

    #[test]
    fn a_record_that_a_group_handled_twice_is_found() {
        let mut facts = facts();
        if let Some(read) = facts.accounts[1].read.get_mut("orders") {
            read.add(&order(7));
        }
        let faults = faults(&facts);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("group `pricing` has handled 101 records"), "{faults:?}");
    }

    #[test]
    fn a_record_that_a_group_did_not_handle_is_found() {
        let mut facts = facts();
        facts.accounts[1].read.insert("orders".into(), tally((0..ORDERS).filter(|&n| n != 7).map(order)));
        assert!(faults(&facts)[0].starts_with("group `pricing` has handled 99 records"));
    }

    #[test]
    fn one_record_in_anothers_place_is_found_though_the_counts_agree() {
        let mut facts = facts();
        facts.accounts[1]
            .read
            .insert("orders".into(), tally((0..ORDERS).map(|n| order(if n == 7 { 8 } else { n }))));
        assert!(faults(&facts)[0].starts_with("group `pricing` has handled 100 records"));
    }

    #[test]
    fn a_record_that_is_written_twice_is_named() {
        let mut facts = facts();
        let twice = topic((0..ORDERS).chain([7]).map(order));
        facts.accounts[1].wrote.1 = twice.tally;
        facts.topics.insert("priced".into(), twice);
        assert_eq!(faults(&facts), ["`priced` has 7 once too often"]);
    }

    #[test]
    fn a_record_that_is_lost_is_named_and_what_its_writer_says_held_against_it() {
        let mut facts = facts();
        facts.topics.insert("priced".into(), topic((0..ORDERS).filter(|&n| n != 7 && n < 90).map(order)));
        let faults = faults(&facts);
        assert!(faults[0].starts_with("`priced` holds 89 records"), "{faults:?}");
        assert_eq!(faults[1], "`priced` lacks 7, 90, 91, 92, 93 and 6 others");
    }

    #[test]
    fn a_service_that_says_nothing_has_handled_nothing() {
        let mut facts = facts();
        facts.accounts[1].read.insert("orders".into(), Tally::default());
        assert!(faults(&facts)[0].starts_with("group `pricing` has handled 0 records"));
    }

    #[test]
    fn a_topic_that_nobody_says_to_have_written_to_is_found() {
        let mut facts = facts();
        facts.topics.insert("restocks".into(), topic([order(0)]));
        assert!(faults(&facts)[0].starts_with("`restocks` holds 1 records"));
    }
}
