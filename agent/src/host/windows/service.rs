//! The agent as a service: put in, taken out, and run.
//!
//! It runs as `LocalService`, which may do little on the machine and is nobody on the network: echoes, connections and paths
//! need no more. It starts with Windows, and is started again when it fails.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use firstmile_sys::windows::events::Level;
use firstmile_sys::windows::{events as source, folder};
use tracing::warn;
use windows_service::define_windows_service;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl, ServiceControlAccept,
    ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod,
    ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult};
use windows_service::service_dispatcher;
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::{events, signals};
use crate::config::DEFAULT_FILE;

/// Name of the service.
const NAME: &str = "firstmile-agent";

/// Who runs it.
const ACCOUNT: &str = r"NT AUTHORITY\LocalService";

/// Waits before it is started again: after the first failure, the second, and all others.
const RESTART_AFTER_S: [u64; 3] = [5, 30, 60];

/// After so long without a failure the next one is the first again.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// Longest time to stop: the grace of the agent and some more.
const STOP: Duration = Duration::from_secs(10);

/// Why the service could not be put in, taken out or run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error("cannot {what} the service {NAME}; run this as an administrator")]
    Manager {
        what: &'static str,
        source: windows_service::Error,
    },
    #[error(
        "cannot make or delete {folder} for administrators and the service; run this as an administrator"
    )]
    Folder { folder: String, source: io::Error },
    #[error(
        "{path} belongs neither to the system nor to administrators, or is a link: whoever made it would rule the service. \
         Look at what is in it, delete it, and put the service in again"
    )]
    Foreign { path: String },
    #[error("cannot {what} the source {NAME} of the Event Log; run this as an administrator")]
    EventLog {
        what: &'static str,
        source: io::Error,
    },
    #[error(
        "the service is run by Windows: `net start {NAME}`; by hand it is `firstmile-agent run`"
    )]
    NotAService { source: windows_service::Error },
}

/// Puts the service in, and makes what it needs. It is not started.
///
/// # Errors
/// See [`ServiceError`].
pub(crate) fn install(config: Option<&Path>, state_dir: &Path) -> Result<(), ServiceError> {
    let manager = |source| ServiceError::Manager {
        what: "put in",
        source,
    };
    make_folders(Path::new(DEFAULT_FILE), state_dir)?;
    source::register(events::SOURCE).map_err(|source| ServiceError::EventLog {
        what: "put in",
        source,
    })?;
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let services = ServiceManager::local_computer(None::<&str>, access).map_err(manager)?;
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let service = services
        .create_service(
            &description(config).map_err(|error| manager(windows_service::Error::Winapi(error)))?,
            access,
        )
        .map_err(manager)?;
    let described =
        service.set_description("Measures the road from this machine to Microsoft's network");
    set_recovery(&service, described);
    Ok(())
}

/// Makes what a service needs that an installer has put in: its folders, and what happens when it fails.
///
/// # Errors
/// See [`ServiceError`].
pub(crate) fn adopt(state_dir: &Path) -> Result<(), ServiceError> {
    let manager = |source| ServiceError::Manager {
        what: "configure",
        source,
    };
    make_folders(Path::new(DEFAULT_FILE), state_dir)?;
    let services = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .map_err(manager)?;
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let service = services.open_service(NAME, access).map_err(manager)?;
    set_recovery(&service, Ok(()));
    Ok(())
}

fn set_recovery(service: &Service, before: windows_service::Result<()>) {
    let told = before
        .and_then(|()| service.update_failure_actions(recovery()))
        .and_then(|()| service.set_failure_actions_on_non_crash_failures(true));
    if let Err(error) = told {
        // Wine does not know them. The service works without.
        warn!(%error, "the service is in, and will not be started again when it fails");
    }
}

/// Deletes the default folder, and all that is in it: configuration, identity, reports. What is of others stays.
///
/// # Errors
/// See [`ServiceError`].
pub(crate) fn forget() -> Result<(), ServiceError> {
    let Some(home) = Path::new(DEFAULT_FILE).parent() else {
        return Ok(());
    };
    refuse_foreign(home)?;
    match std::fs::remove_dir_all(home) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ServiceError::Folder {
            folder: home.display().to_string(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Stops the service and takes it out; identity, spool and status stay.
///
/// # Errors
/// See [`ServiceError`].
pub(crate) fn uninstall() -> Result<(), ServiceError> {
    let manager = |source| ServiceError::Manager {
        what: "take out",
        source,
    };
    let services = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .map_err(manager)?;
    let access = ServiceAccess::STOP | ServiceAccess::DELETE | ServiceAccess::QUERY_STATUS;
    let service = services.open_service(NAME, access).map_err(manager)?;
    let status = service.query_status().map_err(manager)?;
    if status.current_state != ServiceState::Stopped {
        service.stop().map_err(manager)?;
        wait_until_stopped(&service).map_err(manager)?;
    }
    service.delete().map_err(manager)?;
    source::unregister(events::SOURCE).map_err(|source| ServiceError::EventLog {
        what: "take out",
        source,
    })
}

/// Waits as long as stopping may take; one that hangs is forgotten by Windows when it has stopped.
#[expect(
    clippy::disallowed_methods,
    reason = "the service manager is asked again and again, nothing tells"
)]
fn wait_until_stopped(service: &Service) -> windows_service::Result<()> {
    let pause = Duration::from_millis(100);
    for _ in 0..STOP.as_millis() / pause.as_millis() {
        if service.query_status()?.current_state == ServiceState::Stopped {
            return Ok(());
        }
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Makes the folder of the default configuration, which administrators alone write to, and the state directory. Any user
/// may make folders in `C:\ProgramData`: what is there already has to be of administrators.
fn make_folders(default_file: &Path, state_dir: &Path) -> Result<(), ServiceError> {
    if let Some(home) = default_file.parent() {
        refuse_foreign(home)?;
        made(home, folder::make_administered)?;
    }
    refuse_foreign(default_file)?;
    refuse_foreign(state_dir)?;
    if let Some(above) = state_dir.parent() {
        made(above, |above| std::fs::create_dir_all(above))?;
    }
    made(state_dir, folder::make_private)
}

fn made(folder: &Path, make: impl Fn(&Path) -> io::Result<()>) -> Result<(), ServiceError> {
    make(folder).map_err(|source| ServiceError::Folder {
        folder: folder.display().to_string(),
        source,
    })
}

fn refuse_foreign(path: &Path) -> Result<(), ServiceError> {
    match folder::is_of_administrators(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ServiceError::Foreign {
            path: path.display().to_string(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ServiceError::Folder {
            folder: path.display().to_string(),
            source,
        }),
    }
}

fn description(config: Option<&Path>) -> io::Result<ServiceInfo> {
    let mut launch_arguments: Vec<OsString> = vec!["service".into(), "run".into()];
    if let Some(config) = config {
        launch_arguments.extend(["--config".into(), std::path::absolute(config)?.into()]);
    }
    Ok(ServiceInfo {
        name: NAME.into(),
        display_name: "Firstmile agent".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe()?,
        launch_arguments,
        dependencies: Vec::new(),
        account_name: Some(ACCOUNT.into()),
        account_password: None,
    })
}

fn recovery() -> ServiceFailureActions {
    let restart = |after| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(after),
    };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGET_AFTER),
        reboot_msg: None,
        command: None,
        actions: Some(RESTART_AFTER_S.map(restart).to_vec()),
    }
}

type Work = Box<dyn Fn() -> u32 + Send + Sync>;

static WORK: OnceLock<Work> = OnceLock::new();

define_windows_service!(begin, serve);

/// Hands this program to Windows, which calls `work` and has its result as the service's exit code; 0 is well.
///
/// # Errors
/// [`ServiceError::NotAService`] when it was not Windows that started the program.
pub(crate) fn run(work: impl Fn() -> u32 + Send + Sync + 'static) -> Result<(), ServiceError> {
    WORK.get_or_init(|| Box::new(work));
    service_dispatcher::start(NAME, begin).map_err(|source| ServiceError::NotAService { source })
}

fn serve(_arguments: Vec<OsString>) {
    let stop = signals::stop();
    let on_control = move |control| {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "what is not accepted is not sent"
        )]
        match control {
            ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
                stop.cancel();
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            _ => ServiceControlHandlerResult::NotImplemented,
        }
    };
    let told = service_control_handler::register(NAME, on_control).and_then(|windows| {
        windows.set_service_status(status(ServiceState::Running, 0))?;
        let code = WORK.get().map_or(1, |work| work());
        windows.set_service_status(status(ServiceState::Stopped, code))
    });
    if let Err(error) = told {
        events::tell(
            Level::Error,
            &format!("Windows cannot be told of the service: {error}"),
        );
    }
}

fn status(state: ServiceState, code: u32) -> ServiceStatus {
    ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if state == ServiceState::Running {
            ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
        } else {
            ServiceControlAccept::empty()
        },
        exit_code: if code == 0 {
            ServiceExitCode::NO_ERROR
        } else {
            ServiceExitCode::ServiceSpecific(code)
        },
        checkpoint: 0,
        wait_hint: STOP,
        process_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_are_made_and_may_be_made_again() {
        let all = tempfile::tempdir().expect("a folder");
        let home = all.path().join("firstmile");
        let (file, state) = (home.join("agent.toml"), home.join("state"));
        for _ in 0..2 {
            make_folders(&file, &state).expect("folders");
            std::fs::write(&file, "").expect("our own file");
            std::fs::write(state.join("status.json"), "{}").expect("our own state");
        }
    }

    #[test]
    #[ignore = "wine 8 says that it makes links and makes none; run it on a Windows, as an administrator"]
    fn a_link_in_place_of_the_folder_is_refused() {
        let all = tempfile::tempdir().expect("a folder");
        let (home, elsewhere) = (all.path().join("firstmile"), all.path().join("elsewhere"));
        std::fs::create_dir(&elsewhere).expect("a folder");
        std::os::windows::fs::symlink_dir(&elsewhere, &home).expect("a link");
        let refusal = make_folders(&home.join("agent.toml"), &home.join("state"));
        assert!(
            matches!(&refusal, Err(ServiceError::Foreign { path }) if path.ends_with("firstmile")),
            "{refusal:?}"
        );
    }
}
