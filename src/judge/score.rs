//! Scores of one answer: VQA accuracy as the official evaluation program computes it, exact match, token F1.

use std::collections::HashMap;

const PUNCTUATION: [char; 21] = [
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?', '!',
];

/// The official program removes at most this many periods (it passes a regex flag where the count belongs).
const MOST_PERIODS: usize = 32;

/// Forms that are restored where exactly one apostrophe is missing ("dont", "couldnt've"). What is not here stays:
/// the official table lacks "she'd" and "we'll", for instance.
const CONTRACTIONS: &str = "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't \
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't \
    must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've \
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's \
    there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't \
    what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're \
    why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've";

/// Accuracy in [0, 1] of `answer` against the annotators' `accepted` answers (ten in VQA): the mean over the subsets that
/// leave one annotator out of min(1, matches / 3), rounded to hundredths of a percent. Texts are normalized only where
/// the annotators do not all agree. 0 where nothing is accepted.
#[must_use]
pub fn vqa_accuracy(answer: &str, accepted: &[String]) -> f64 {
    if accepted.is_empty() {
        return 0.0;
    }
    let accepted: Vec<String> = accepted.iter().map(|text| one_line(text)).collect();
    let differ = accepted.iter().any(|text| *text != accepted[0]);
    let clean = |text: &str| if differ { normalize(text) } else { text.to_owned() };
    let answer = clean(&one_line(answer));
    let matches = accepted.iter().filter(|text| clean(text) == answer).count();
    let others = accepted.len() - matches;
    let thirds = matches * matches.saturating_sub(1).min(3) + others * matches.min(3);
    let percent = 100.0 * thirds as f64 / (3 * accepted.len()) as f64;
    (percent * 100.0).round() / 100.0 / 100.0
}

/// Whether `answer` counts as right: accuracy of at least one half against ten annotators or more, [`exact_match`] against fewer.
#[must_use]
pub fn vqa_correct(answer: &str, accepted: &[String]) -> bool {
    if accepted.len() >= 10 { vqa_accuracy(answer, accepted) >= 0.5 } else { exact_match(answer, accepted) }
}

/// Whether `answer` equals one of the `accepted` answers after [`normalize`].
#[must_use]
pub fn exact_match(answer: &str, accepted: &[String]) -> bool {
    let answer = normalize(&one_line(answer));
    accepted.iter().any(|text| normalize(&one_line(text)) == answer)
}

/// The best F1, in [0, 1], of the normalized words of `answer` against those of an accepted answer. Two texts without words agree.
#[must_use]
pub fn token_f1(answer: &str, accepted: &[String]) -> f64 {
    let answer = normalize(&one_line(answer));
    accepted.iter().map(|text| f1(&answer, &normalize(&one_line(text)))).fold(0.0, f64::max)
}

/// How close `answer` comes to one of the `accepted` answers, in [0, 1]: the best of [`token_f1`] and of the share of equal
/// letters (the ratio of Python's difflib), of normalized texts.
#[must_use]
pub fn relevance(answer: &str, accepted: &[String]) -> f64 {
    let letters = |text: &str| normalize(&one_line(text)).chars().collect::<Vec<char>>();
    let answered = letters(answer);
    let ratio = |text: &String| {
        let text = letters(text);
        let total = answered.len() + text.len();
        if total == 0 { 1.0 } else { 2.0 * equal_letters(&answered, &text) as f64 / total as f64 }
    };
    accepted.iter().map(ratio).fold(token_f1(answer, accepted), f64::max)
}

/// Letters in the longest block that both have, the first of equally long ones, and in those before and behind it.
fn equal_letters(left: &[char], right: &[char]) -> usize {
    let (mut equal, mut parts) = (0, vec![(left, right)]);
    while let Some((left, right)) = parts.pop() {
        let (mut best, mut at) = (0, (0, 0));
        // Length of the common block that ends at each letter of `right`, for the letter of `left` before.
        let mut lengths = vec![0; right.len() + 1];
        for (row, a) in left.iter().enumerate() {
            let mut diagonal = 0;
            for (column, b) in right.iter().enumerate() {
                let length = if a == b { diagonal + 1 } else { 0 };
                diagonal = std::mem::replace(&mut lengths[column + 1], length);
                if length > best {
                    (best, at) = (length, (row + 1 - length, column + 1 - length));
                }
            }
        }
        if best > 0 {
            equal += best;
            parts.push((&left[..at.0], &right[..at.1]));
            parts.push((&left[at.0 + best..], &right[at.1 + best..]));
        }
    }
    equal
}

fn f1(left: &str, right: &str) -> f64 {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in right.split_whitespace() {
        *counts.entry(word).or_default() += 1;
    }
    let (mut words, mut common) = (0, 0);
    for word in left.split_whitespace() {
        words += 1;
        if let Some(count) = counts.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    let total = words + right.split_whitespace().count();
    if total == 0 { 1.0 } else { 2.0 * f64::from(common) / total as f64 }
}

/// The official program's normal form: punctuation, lower case, number words, articles, contractions.
#[must_use]
pub fn normalize(text: &str) -> String {
    let plain = without_punctuation(text).to_lowercase();
    let words = plain.split_whitespace().map(digit).filter(|word| !["a", "an", "the"].contains(word));
    words.map(contraction).collect::<Vec<_>>().join(" ")
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\t'], " ").trim().to_owned()
}

/// A mark beside a space, or in a text with a number such as "1,000", disappears; any other becomes a space.
fn without_punctuation(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let grouped =
        letters.windows(3).any(|part| part[0].is_ascii_digit() && part[1] == ',' && part[2].is_ascii_digit());
    let mut plain = text.to_owned();
    for mark in PUNCTUATION {
        let vanishes = grouped || text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        plain = plain.replace(mark, if vanishes { "" } else { " " });
    }
    without_periods(&plain)
}

/// Removes periods that no digit follows.
fn without_periods(text: &str) -> String {
    let mut left = MOST_PERIODS;
    let mut letters = text.chars().peekable();
    let mut kept = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        if letter == '.' && left > 0 && !letters.peek().is_some_and(char::is_ascii_digit) {
            left -= 1;
        } else {
            kept.push(letter);
        }
    }
    kept
}

fn digit(word: &str) -> &str {
    const NAMES: [&str; 11] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    const DIGITS: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let word = if word == "none" { "zero" } else { word };
    NAMES.iter().position(|name| *name == word).map_or(word, |at| DIGITS[at])
}

fn contraction(word: &str) -> &str {
    // The one entry of the official table that goes the other way.
    if word == "somebody'd" {
        return "somebodyd";
    }
    let lacks_one = |form: &&str| {
        form.len() == word.len() + 1
            && form
                .match_indices('\'')
                .any(|(at, _)| form[..at] == word[..at.min(word.len())] && form[at + 1..] == word[at..])
    };
    if word.is_ascii() { CONTRACTIONS.split_whitespace().find(lacks_one).unwrap_or(word) } else { word }
}
