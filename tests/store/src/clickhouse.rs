//! `ClickHouse` on the same samples: half an hour of all agents in each insert, one table in the order of agent, series and time.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::arrivals::{Arrival, Stream};
use crate::codec::count;
use crate::server::{Server, free_port};
use firstmile_figures::Figures;

const TABLE: &str = "CREATE TABLE sample (at Int64, agent UInt32, series UInt32, rtt UInt32, outcome UInt8, marks UInt8) \
     ENGINE = MergeTree PARTITION BY toYYYYMMDD(toDateTime(intDiv(at, 1000))) ORDER BY (agent, series, at)";

/// Inserts the stream, and notes what that takes of the server's processor time, and of the disk once all parts are merged.
pub(crate) fn ingest(
    dir: &Path,
    agents: u32,
    hours: usize,
    seed: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (http, tcp, replicas) = (free_port()?, free_port()?, free_port()?);
    std::fs::write(dir.join("config.xml"), config(dir, [http, tcp, replicas]))
        .context("a folder")?;
    std::fs::write(dir.join("users.xml"), USERS).context("a folder")?;
    let mut command = Command::new("clickhouse-server");
    command.arg(format!(
        "--config-file={}",
        dir.join("config.xml").display()
    ));
    let server = Server::start(&mut command, http, "/ping")?;
    let mut line = server.connect()?;
    let version = line.ask("POST", "/", b"SELECT version()")?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    println!("peer: ClickHouse {version}");
    figures.note("clickhouse_version", version);
    line.ask("POST", "/", TABLE.as_bytes())?;
    let mut stream = Stream::new(agents, seed);
    let metros = stream.metros();
    let (from, mut samples) = (server.processor()?, 0);
    for _ in 0..hours * 2 {
        let arrivals = stream.half_hour();
        samples += arrivals.len();
        let path = "/?query=INSERT%20INTO%20sample%20FORMAT%20RowBinary";
        line.ask("POST", path, &rows(&arrivals))?;
    }
    let inserted = server.processor()?.saturating_sub(from);
    line.ask("POST", "/", b"OPTIMIZE TABLE sample FINAL")?;
    let bytes = number(&line.ask(
        "POST",
        "/",
        b"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'sample'",
    )?)?;
    let found = number(&line.ask("POST", "/", b"SELECT count() FROM sample")?)?;
    ensure!(
        found == samples,
        "ClickHouse has {found} of {samples} samples"
    );
    let of_agents: Vec<String> = metros.iter().map(u32::to_string).collect();
    let question = format!(
        "SELECT intDiv(at, 300000) AS t, arrayElement([{}], agent + 1) AS metro, quantilesExact(0.5, 0.95, 0.99)(rtt) \
         FROM sample WHERE outcome = 1 GROUP BY t, metro FORMAT RowBinary",
        of_agents.join(",")
    );
    let ms = server.asked(&mut line, ("POST", "/", question.as_bytes()))?;
    figures.note("clickhouse_q_metro_ms", ms);
    server.stop()?;
    figures.note(
        "clickhouse_samples_per_cpu_s",
        count(samples) / inserted.as_secs_f64(),
    );
    figures.note("clickhouse_bytes_per_sample", count(bytes) / count(samples));
    Ok(())
}

fn number(answer: &[u8]) -> anyhow::Result<usize> {
    let text = String::from_utf8_lossy(answer);
    text.trim()
        .parse()
        .with_context(|| format!("`{text}` is no number"))
}

fn rows(arrivals: &[Arrival]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(arrivals.len() * 22);
    for one in arrivals {
        bytes.extend_from_slice(&one.row.at_unix_ms.to_le_bytes());
        bytes.extend_from_slice(&one.agent.to_le_bytes());
        bytes.extend_from_slice(&one.series.to_le_bytes());
        bytes.extend_from_slice(&one.row.rtt_us.to_le_bytes());
        bytes.push(one.row.outcome);
        bytes.extend(one.row.marks.to_le_bytes().first());
    }
    bytes
}

fn config(dir: &Path, [http, tcp, replicas]: [u16; 3]) -> String {
    let dir = dir.display();
    format!(
        "<?xml version=\"1.0\"?><yandex><logger><level>warning</level><log>{dir}/s.log</log><errorlog>{dir}/e.log</errorlog></logger>\
         <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port><interserver_http_port>{replicas}</interserver_http_port>\
         <interserver_http_host>127.0.0.1</interserver_http_host><listen_host>127.0.0.1</listen_host>\
         <max_concurrent_queries>100</max_concurrent_queries><mark_cache_size>268435456</mark_cache_size>\
         <path>{dir}/data/</path><tmp_path>{dir}/tmp/</tmp_path><user_files_path>{dir}/user_files/</user_files_path>\
         <users_config>users.xml</users_config><default_profile>default</default_profile>\
         <default_database>default</default_database><timezone>UTC</timezone><mlock_executable>false</mlock_executable>\
         <format_schema_path>{dir}/data/format_schemas/</format_schema_path></yandex>"
    )
}

const USERS: &str = "<?xml version=\"1.0\"?><yandex><profiles><default><max_memory_usage>4000000000</max_memory_usage>\
     <max_threads>2</max_threads></default></profiles><users><default><password></password><networks><ip>127.0.0.1</ip></networks>\
     <profile>default</profile><quota>default</quota></default></users><quotas><default></default></quotas></yandex>";
