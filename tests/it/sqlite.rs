//! EnSQL against SQLite: the same generated queries over the same rows give the same results.
//!
//! Each row is a table's row, and holds it a second time as a document: `{{doc.item.mag}}` is a place in that for both, each in
//! its own way. What differs on purpose is not generated; docs/ensql.md names it.

use std::{
    borrow::Cow,
    fmt::Write as _,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use ensign::{
    ensql::{Finish, Input, Outcome, Path, Statement, Step, Value},
    model::{Mimetype, Offset, Rlid, Time},
};
use serde_json::{Value as Json, json};

use crate::harness::{is_installed, repository};

/// Reads rows and queries as JSON, and answers with each query's rows.
const SQLITE: &str = r#"
import json, sqlite3, sys
asked = json.load(sys.stdin)
base = sqlite3.connect(":memory:")
base.execute("PRAGMA case_sensitive_like = ON")
base.execute("CREATE TABLE t (%s)" % ", ".join(asked["columns"]))
marks = ", ".join("?" for _ in asked["columns"])
base.executemany("INSERT INTO t VALUES (%s)" % marks, asked["rows"])
answers = []
for query in asked["queries"]:
    try:
        answers.append([list(row) for row in base.execute(query)])
    except sqlite3.Error as error:
        answers.append(str(error))
json.dump(answers, sys.stdout)
"#;

/// The columns of some rows, by their types.
struct Table {
    file: &'static str,
    rows: usize,
    /// Whole numbers, small enough that no product of a few of them overflows.
    whole: &'static [&'static str],
    /// Whole numbers and floats.
    numbers: &'static [&'static str],
    /// Texts of ASCII.
    texts: &'static [&'static str],
    /// Texts of few values.
    groups: &'static [&'static str],
    /// Texts that occur, and parts of them.
    samples: &'static [&'static str],
}

const EARTHQUAKES: Table = Table {
    file: "tests/data/earthquakes.jsonl",
    rows: 1_707,
    whole: &["sig", "felt", "nst", "tsunami", "tz"],
    numbers: &["mag", "rms", "dmin", "gap", "cdi"],
    texts: &["id", "net", "magType", "status", "alert", "title", "ids"],
    groups: &["net", "magType", "status", "alert", "tsunami"],
    samples: &["ci", "ml", "automatic", "reviewed", "%Castaic%", "M 2%", "%, CA", "_l", "green", ",ci%", ""],
};

const FLIGHTS: Table = Table {
    file: "tests/data/flights.jsonl",
    rows: 3_000,
    whole: &["delay", "distance"],
    numbers: &["delay", "distance"],
    texts: &["date", "origin", "destination"],
    groups: &["origin", "destination"],
    samples: &["DTW", "LAS", "S%", "%A", "_A_", "2001/01/02%", "%:1_", "SFO", "", "%"],
};

#[test]
fn earthquakes() {
    compare(&EARTHQUAKES, 400);
}

#[test]
fn flights() {
    compare(&FLIGHTS, 250);
}

fn compare(table: &Table, count: u64) {
    if !is_installed("python3") {
        return;
    }
    let text = fs::read_to_string(repository(table.file)).unwrap();
    let rows: Vec<Json> = text.lines().take(table.rows).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), table.rows);
    let rows: Vec<Json> = rows.into_iter().map(with_document).collect();
    let queries: Vec<String> = (0..count).map(|seed| Generator { table, state: seed }.query()).collect();
    let mut columns: Vec<&str> = [table.whole, table.numbers, table.texts, table.groups, &["doc"]].concat();
    columns.sort_unstable();
    columns.dedup();
    let cell = |value: &Json| if value.is_object() { Json::from(value.to_string()) } else { value.clone() };
    let cells = |row: &Json| columns.iter().map(|name| cell(&row[*name])).collect::<Vec<Json>>();
    let for_sqlite: Vec<String> = queries.iter().map(|query| in_sqlite(query)).collect();
    let asked = json!({"columns": columns, "rows": rows.iter().map(cells).collect::<Vec<_>>(), "queries": for_sqlite});
    let answers = ask_sqlite(&asked);
    assert_eq!(answers.len(), queries.len());
    let mut some = 0;
    for (query, answer) in queries.iter().zip(&answers) {
        let expected = answer.as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        let query = query.replace("{{", "").replace("}}", "");
        let found = ask_ensql(&query, &rows);
        let same =
            found.len() == expected.len() && found.iter().zip(expected).all(|(left, right)| is_same(left, right));
        assert!(same, "{query}\nEnSQL:  {}\nSQLite: {}", Json::from(found), Json::from(expected.clone()));
        some += u64::from(!expected.is_empty());
    }
    assert!(some > count / 2, "only {some} of {count} queries find something");
}

/// A row with itself within: as an object, and as an array of its first few values.
fn with_document(mut row: Json) -> Json {
    let list: Vec<Json> = row.as_object().unwrap().values().take(4).cloned().collect();
    let document = json!({"item": row, "list": list, "deep": {"list": [{"first": list[0]}, null, list[1]]}});
    row["doc"] = document;
    row
}

/// A query as SQLite has it: places in documents are calls.
fn in_sqlite(query: &str) -> String {
    let mut parts = query.split("{{doc");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (path, rest) = part.split_once("}}").unwrap();
        write!(text, "json_extract(doc, '${path}'){rest}").unwrap();
    }
    text
}

fn ask_sqlite(asked: &Json) -> Vec<Json> {
    let mut python =
        Command::new("python3").args(["-c", SQLITE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let asked = asked.to_string();
    let writing = std::thread::spawn(move || stdin.write_all(asked.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ask_ensql(query: &str, rows: &[Json]) -> Vec<Json> {
    let plan = Statement::parse(query).and_then(|statement| statement.bind(&[]));
    let mut execution = plan.unwrap_or_else(|error| panic!("{query}: {error}")).start(Time::EPOCH);
    let mut results = Vec::new();
    let result = |row: &[u8]| {
        let row: serde_json::Map<String, Json> = serde_json::from_slice(row).unwrap();
        Json::Array(row.into_iter().map(|(_, value)| value).collect())
    };
    let mut out = Vec::new();
    for (number, row) in (1..).zip(rows) {
        let fields: Vec<Value<'_>> = execution.plan().fields().iter().map(|path| value_at(path, row)).collect();
        let input = Input {
            offset: Offset::new(number),
            id: Rlid::from_parts(number, 0),
            committed: Time::EPOCH,
            created: None,
            type_name: "",
            type_version: (0, 0, 0),
            mimetype: Mimetype::JSON,
            key: b"",
            size: 0,
            metadata: &(),
        };
        out.clear();
        if execution.push(&input, &fields, &mut out).unwrap() == Outcome::Row {
            results.push(result(&out));
        }
    }
    if let Finish::Rows(mut rows) = execution.finish().unwrap() {
        out.clear();
        while rows.next(&mut out) {
            results.push(result(&out));
            out.clear();
        }
    }
    results
}

fn value_at<'a>(path: &Path, row: &'a Json) -> Value<'a> {
    let mut at = Some(row);
    for step in path {
        at = match step {
            Step::Key(name) => at.and_then(|value| value.get(name.as_str())),
            Step::Index(index) => at.and_then(|value| value.get(*index)),
        };
    }
    match at {
        Some(Json::Number(number)) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap()), Value::Int)
        }
        Some(Json::String(text)) => Value::Text(Cow::Borrowed(text)),
        _ => Value::Null,
    }
}

/// SQLite has no truth values, and adds up in another order.
fn is_same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Json::Bool(truth), number) => is_same(&Json::from(u8::from(*truth)), number),
        (Json::Number(left), Json::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1.0)
        }
        (left, right) => left == right,
    }
}

/// Queries from a number, always the same.
struct Generator<'a> {
    table: &'a Table,
    state: u64,
}

impl Generator<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    fn query(&mut self) -> String {
        match self.below(6) {
            0 => self.rows(),
            1 => self.ordered(),
            2 => self.distinct(),
            3 => self.total(),
            4 => self.grouped(),
            _ => self.grouped_by_two(),
        }
    }

    /// In the order of the rows.
    fn rows(&mut self) -> String {
        let columns = self.columns();
        format!("SELECT {columns} FROM t{} LIMIT 20", self.filter())
    }

    /// By the first column and up to two more expressions; what decides in the end is different for all rows.
    fn ordered(&mut self) -> String {
        let (columns, filter) = (self.columns(), self.filter());
        let mut order = format!("c0{}", self.direction());
        for _ in 0..self.below(3) {
            let key = match self.below(3) {
                // A number alone would be that of a column.
                0 => format!("({} + 0)", self.number(1)),
                1 => self.text(1),
                _ => self.one(self.table.groups).to_owned(),
            };
            write!(order, ", {key}{}", self.direction()).unwrap();
        }
        let last = self.table.texts[0];
        let last = if last == "id" { "id" } else { "date, origin, destination, delay, distance" };
        format!("SELECT {columns} FROM t{filter} ORDER BY {order}, {last} LIMIT {}", self.below(30))
    }

    fn direction(&mut self) -> &'static str {
        self.one(&["", " ASC", " DESC", " DESC NULLS FIRST", " NULLS LAST", " ASC NULLS LAST", " DESC NULLS LAST"])
    }

    fn distinct(&mut self) -> String {
        let (column, filter) = (self.one(self.table.groups), self.filter());
        let number = self.number(1);
        format!("SELECT DISTINCT {column} AS c0, {number} AS c1 FROM t{filter} ORDER BY c0, c1 LIMIT 40")
    }

    fn total(&mut self) -> String {
        let (first, second) = (self.aggregate(), self.aggregate());
        format!("SELECT count(*) AS c0, {first} AS c1, {second} AS c2 FROM t{}", self.filter())
    }

    fn grouped(&mut self) -> String {
        let key = match self.below(4) {
            // A number alone would be that of a column.
            0 => format!("({} + 0)", self.number(1)),
            1 => self.text(1),
            _ => self.one(self.table.groups).to_owned(),
        };
        let (aggregate, filter) = (self.aggregate(), self.filter());
        let having = self.having();
        let order = self.one(&["c0", "c0 DESC", "c1 DESC, c0", "count(*), c0"]);
        format!("SELECT {key} AS c0, {aggregate} AS c1 FROM t{filter} GROUP BY {key}{having} ORDER BY {order} LIMIT 25")
    }

    fn grouped_by_two(&mut self) -> String {
        let key = match self.below(3) {
            0 => format!("CASE WHEN {} THEN {} END", self.condition(1), self.sample()),
            1 => format!("length({})", self.text(1)),
            _ => self.one(self.table.groups).to_owned(),
        };
        let (group, aggregate, filter, having) =
            (self.one(self.table.groups), self.aggregate(), self.filter(), self.having());
        let directions = (self.direction(), self.direction());
        format!(
            "SELECT {group} AS c0, {key} AS c1, {aggregate} AS c2 FROM t{filter} GROUP BY {group}, {key}{having} \
             ORDER BY c1{}, c0{} LIMIT 30",
            directions.0, directions.1
        )
    }

    fn having(&mut self) -> String {
        let sign = self.one(&["=", "<>", "<", ">", ">="]);
        match self.below(6) {
            0 => format!(" HAVING count(*) > {}", self.below(20)),
            1 => format!(" HAVING {} IS NOT NULL", self.aggregate()),
            2 => format!(" HAVING {} {sign} {}", self.numeric_aggregate(), self.below(50)),
            3 => format!(
                " HAVING count(*) > {} AND NOT {} {sign} {} OR count(DISTINCT {}) = 2",
                self.below(5),
                self.numeric_aggregate(),
                self.below(50),
                self.one(self.table.texts)
            ),
            _ => String::new(),
        }
    }

    fn columns(&mut self) -> String {
        let mut columns = String::new();
        for number in 0..=self.below(3) {
            let column = match self.below(4) {
                0 => self.number(2),
                1 => self.text(2),
                2 => self.condition(1),
                _ => self.one(self.table.texts).to_owned(),
            };
            let comma = if number == 0 { "" } else { ", " };
            write!(columns, "{comma}{column} AS c{number}").unwrap();
        }
        columns
    }

    fn filter(&mut self) -> String {
        if self.below(5) == 0 { String::new() } else { format!(" WHERE {}", self.condition(2)) }
    }

    fn aggregate(&mut self) -> String {
        match self.below(4) {
            0 => format!("max({}) || '!'", self.one(self.table.texts)),
            1 => format!("min({}) || count(*)", self.text(1)),
            _ => self.numeric_aggregate(),
        }
    }

    fn numeric_aggregate(&mut self) -> String {
        let operand = match self.below(4) {
            0 => self.number(1),
            1 => self.one(self.table.numbers).to_owned(),
            2 => self.place(self.table.numbers),
            _ => self.one(self.table.whole).to_owned(),
        };
        let filter = if self.below(4) == 0 { format!(" FILTER (WHERE {})", self.condition(1)) } else { String::new() };
        match self.below(11) {
            0 => format!("sum({operand}){filter}"),
            1 => format!("avg({operand}){filter}"),
            2 => format!("min({operand}){filter}"),
            3 => format!("max({operand}){filter}"),
            4 => format!("count({operand}){filter}"),
            5 => format!("count(DISTINCT {}){filter}", self.text(1)),
            6 => format!("count(DISTINCT {operand}){filter}"),
            7 => format!("sum(DISTINCT {operand})"),
            8 => format!("avg(DISTINCT {})", self.one(self.table.whole)),
            9 => format!("count(*){filter}"),
            _ => format!("sum({operand}) * 2 - count(*)"),
        }
    }

    /// A place in the document.
    fn place(&mut self, of: &[&str]) -> String {
        format!("{{{{doc.item.{}}}}}", self.one(of))
    }

    fn number(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.below(6) {
                0 => format!("{}", self.below(200)),
                1 => self.one(&["0.5", "2.25", "-3", "1000.0", "NULL"]).to_owned(),
                2 => self.one(self.table.numbers).to_owned(),
                3 => self.place(self.table.whole),
                4 => self.one(&["{{doc.item.nothing}}", "{{doc.list[9]}}", "{{doc.deep.list[1]}}"]).to_owned(),
                _ => self.one(self.table.whole).to_owned(),
            };
        }
        let (left, right) = (self.number(depth - 1), self.number(depth - 1));
        match self.below(17) {
            0 => format!("({left} + {right})"),
            1 => format!("({left} - {right})"),
            2 => format!("({left} * {right})"),
            3 => format!("({left} / {right})"),
            4 => format!("({} % {})", self.one(self.table.whole), self.one(&["2", "7", "-3", "0"])),
            5 => format!("-({left})"),
            6 => format!("abs({left})"),
            7 => format!("coalesce({left}, {right})"),
            8 => format!("nullif({left}, {right})"),
            9 => format!("length({})", self.text(depth - 1)),
            10 => format!("CASE WHEN {} THEN {left} ELSE {right} END", self.condition(depth - 1)),
            11 => format!("CASE WHEN {} THEN {left} WHEN {} THEN {right} END", self.condition(0), self.condition(0)),
            12 => format!("CASE {left} WHEN {right} THEN 1 WHEN NULL THEN 2 WHEN {left} THEN 3 ELSE -1 END"),
            13 => format!("iif({}, {left}, ifnull({right}, 0))", self.condition(depth - 1)),
            14 => format!("instr({}, {})", self.text(depth - 1), self.sample()),
            15 => format!("(round({left}) * 1.0)"),
            _ => format!("CAST({left} AS INTEGER)"),
        }
    }

    fn text(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.below(6) {
                0 => self.sample(),
                1 => self.place(self.table.texts),
                2 => "{{doc.deep.list[0].first}}".to_owned(),
                _ => self.one(self.table.texts).to_owned(),
            };
        }
        let text = self.text(depth - 1);
        match self.below(13) {
            0 => format!("({text} || {})", self.text(depth - 1)),
            1 => format!("upper({text})"),
            2 => format!("lower({text})"),
            3 => format!(
                "substr({text}, {}, {})",
                self.one(&["1", "2", "-3", "0", "9"]),
                self.one(&["1", "3", "0", "-2"])
            ),
            4 => format!("replace({text}, {}, '-')", self.one(&["'a'", "'A'", "','", "''"])),
            5 => format!("coalesce({text}, 'none')"),
            6 => format!("trim({text})"),
            7 => format!("CASE {text} WHEN {} THEN 'this' ELSE {text} END", self.sample()),
            8 => format!("nullif({text}, {})", self.sample()),
            9 => format!("ltrim({text}, 'cMH2')"),
            10 => format!("rtrim({text}, ',ALe')"),
            11 => format!("CASE WHEN {} THEN {text} END", self.condition(0)),
            _ => format!("CAST({} AS TEXT)", self.one(self.table.whole)),
        }
    }

    fn sample(&mut self) -> String {
        format!("'{}'", self.one(self.table.samples).replace(['%', '_'], ""))
    }

    fn condition(&mut self, depth: usize) -> String {
        let sign = self.one(&["=", "<>", "!=", "<", "<=", ">", ">=", "=="]);
        if depth > 0 && self.below(2) == 0 {
            let (left, right) = (self.condition(depth - 1), self.condition(depth - 1));
            return match self.below(4) {
                0 => format!("({left} AND {right})"),
                1 => format!("({left} OR {right})"),
                2 => format!("{left} OR {right} AND {left}"),
                _ => format!("NOT ({left})"),
            };
        }
        let not = self.one(&["", "NOT "]);
        match self.below(11) {
            0 => format!("{} {sign} {}", self.number(1), self.number(0)),
            1 => format!("{} {sign} {}", self.text(1), self.sample()),
            2 => format!("{} {not}LIKE '{}'", self.text(1), self.one(self.table.samples)),
            3 => format!("{} IS {not}NULL", self.number(1)),
            4 => format!("{} {not}BETWEEN {} AND {}", self.number(1), self.number(0), self.number(0)),
            5 => format!("{} IS {not}NULL", self.text(1)),
            6 => format!("{} IS {not}DISTINCT FROM {}", self.number(0), self.number(0)),
            7 => format!("{} IS {not}DISTINCT FROM {}", self.text(0), self.text(0)),
            8 => format!("{} {not}BETWEEN {} AND {}", self.text(0), self.sample(), self.text(0)),
            9 => {
                let list: Vec<String> = (0..self.below(12)).map(|_| self.number(0)).collect();
                format!("{} {not}IN ({})", self.number(0), list.join(", "))
            }
            _ => {
                let list: Vec<String> = (0..=self.below(10)).map(|_| self.sample()).collect();
                format!("{} {not}IN ({})", self.one(self.table.texts), list.join(", "))
            }
        }
    }
}
