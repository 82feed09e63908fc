//! Makes functions of the documentation's snippets in Rust, which the program `snippets-rust` runs by name.

#[path = "src/blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library's own")]
mod blocks;

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use blocks::Fate;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/blocks.rs");
    println!("cargo::rerun-if-changed={}", root.join("docs/guide").display());
    let (mut functions, mut arms) = (String::new(), String::new());
    for page in blocks::pages(&root)? {
        println!("cargo::rerun-if-changed={}", root.join(&page).display());
        let text = fs::read_to_string(root.join(&page))?;
        let found = blocks::blocks(&text).map_err(|what| format!("{} {what}", page.display()))?;
        for block in found.iter().filter(|b| b.language == "rust" && matches!(b.fate, Fate::Run { .. })) {
            let name = format!("{}:{}", page.display(), block.line);
            let function: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            // Where the page says `localhost:9092`, the test has its broker elsewhere.
            let text = block.text.replace("\"localhost:9092\"", "crate::address()");
            writeln!(functions, "/// `{name}`.\nmod {} {{\n", function.to_lowercase())?;
            let main = [
                "#[tokio::main]\nasync fn main",
                "#[tokio::main(flavor = \"current_thread\")]\nasync fn main",
            ];
            match main.iter().find(|main| text.contains(*main)) {
                Some(main) => functions += &text.replace(main, "pub(super) async fn run"),
                None => write!(
                    functions,
                    "pub(super) async fn run() -> Result<(), Box<dyn std::error::Error>> {{\n{text}\nOk(())\n}}\n"
                )?,
            }
            functions += "}\n";
            writeln!(arms, "{name:?} => {}::run().await.map_err(Into::into),", function.to_lowercase())?;
        }
    }
    write!(
        functions,
        "/// Runs a snippet by its place.\nasync fn run(name: &str) -> Result<(), Box<dyn std::error::Error>> {{\n\
         match name {{\n{arms}_ => Err(format!(\"there is no snippet `{{name}}`\").into()),\n}}\n}}\n"
    )?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("snippets.rs"), functions)?;
    Ok(())
}
