//! Configs and secrets, for users. No answer holds what a secret holds.

use davit_core::file::{ConfigKind, ConfigName, FileDigest};
use davit_core::validate::Violations;
use davit_proto::v1::config_service_server::ConfigService;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use tonic::{Request, Response, Status};

use super::Api;
use super::errors::{refusal, to_api_error};
use super::paging::Page;
use crate::commands::{self, NewConfig};
use crate::stable_hash::stable_hash;
use crate::state::Draft;

/// Serves configs and secrets.
#[derive(Debug, Clone)]
pub struct ConfigApi {
    api: Api,
}

impl ConfigApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn create(&self, request: v1::CreateConfigRequest) -> Result<v1::Config, ApiError> {
        let v1::CreateConfigRequest { name, kind, content, labels, validate_only } = request;
        let mut violations = Violations::new();
        let name = convert::config_name_from_proto(name, kind, &mut violations);
        let content = convert::content_from_proto(content, &mut violations);
        let labels = convert::labels_from_proto(labels, convert::MAX_LABELS, "labels", &mut violations);
        let read = name.zip(content).zip(labels);
        let ((name, content), labels) = violations.finish(read)?;
        let new = NewConfig { name, content, labels, app: String::new() };
        if validate_only {
            let config = commands::put_config(&mut self.api.trial(), new).map_err(|error| refusal(&error))?;
            return Ok(v1::Config { revision: 0, ..convert::config_to_proto(&config) });
        }
        let command = move |draft: &mut Draft| commands::put_config(draft, new);
        let config = self.api.writer.write(command).await.map_err(to_api_error)?;
        Ok(convert::config_to_proto(&config))
    }

    fn get(&self, request: v1::GetConfigRequest) -> Result<v1::GetConfigResponse, ApiError> {
        let v1::GetConfigRequest { name, kind, with_content, digest } = request;
        let mut violations = Violations::new();
        let name = convert::config_name_from_proto(name, kind, &mut violations);
        if with_content && name.as_ref().is_some_and(|name| name.kind == ConfigKind::Secret) {
            violations.add("with_content", "what a secret holds is given back by no call");
        }
        let digest: Option<FileDigest> = match digest.as_str() {
            "" => None,
            text => violations.check("digest", text.parse()),
        };
        let name = violations.finish(name)?;
        let state = self.api.writer.state();
        let missing = || refusal(&commands::Error::ConfigNotFound { config: name.clone() });
        let config = state.config(&name).ok_or_else(missing)?;
        let version = match digest {
            None => config.newest(),
            Some(digest) => config.versions.iter().find(|version| version.digest == digest),
        };
        let version = version.ok_or_else(|| {
            let message = format!("{name} has no such version");
            ApiError::new(ErrorKind::NotFound, "CONFIG_NOT_FOUND", message)
                .with_resource(name.kind.to_string(), name.name.as_str())
        })?;
        let content = state.content(version.digest).filter(|_| with_content && name.kind == ConfigKind::Config);
        Ok(v1::GetConfigResponse {
            config: Some(convert::config_to_proto(config)),
            content: content.map(|content| content.reveal().to_vec()).unwrap_or_default(),
        })
    }

    fn list(&self, request: &v1::ListConfigsRequest) -> Result<v1::ListConfigsResponse, ApiError> {
        let mut violations = Violations::new();
        let kind = convert::config_kind_from_proto(request.kind);
        if kind.is_none() && request.kind != 0 {
            violations.add("kind", format!("{} is not a kind", request.kind));
        }
        let filter = v1::ListConfigsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let hash = stable_hash("ListConfigs", &filter);
        let page = Page::from_proto(request.page_size, &request.page_token, hash, &mut violations);
        let after = page.as_ref().filter(|page| !page.cursor.is_empty()).map(|page| from_cursor(&page.cursor));
        if after.as_ref().is_some_and(Option::is_none) {
            Page::bad_cursor(&mut violations);
        }
        let (page, after) = (violations.finish(page)?, after.flatten());
        let state = self.api.writer.state();
        let rest = state.configs_after(after.as_ref()).filter(|config| {
            kind.is_none_or(|kind| config.name.kind == kind) && (request.app.is_empty() || config.app == request.app)
        });
        let (found, next_page_token) = page.take(rest, |config| to_cursor(&config.name));
        let configs = found.into_iter().map(|config| convert::config_to_proto(config)).collect();
        Ok(v1::ListConfigsResponse { configs, next_page_token, revision: state.revision().0 })
    }

    async fn delete(&self, request: v1::DeleteConfigRequest) -> Result<v1::DeleteConfigResponse, ApiError> {
        let mut violations = Violations::new();
        let name = convert::config_name_from_proto(request.name, request.kind, &mut violations);
        let name = violations.finish(name)?;
        let command = move |draft: &mut Draft| commands::delete_config(draft, &name);
        let revision = self.api.writer.write(command).await.map_err(to_api_error)?;
        Ok(v1::DeleteConfigResponse { revision: revision.0 })
    }
}

fn to_cursor(name: &ConfigName) -> Vec<u8> {
    let kind = match name.kind {
        ConfigKind::Config => b'c',
        ConfigKind::Secret => b's',
    };
    [&[kind], name.name.as_bytes()].concat()
}

fn from_cursor(cursor: &[u8]) -> Option<ConfigName> {
    let (kind, name) = cursor.split_first()?;
    let kind = match kind {
        b'c' => ConfigKind::Config,
        b's' => ConfigKind::Secret,
        _ => return None,
    };
    Some(ConfigName { kind, name: String::from_utf8(name.to_vec()).ok()? })
}

#[tonic::async_trait]
impl ConfigService for ConfigApi {
    async fn create_config(
        &self,
        request: Request<v1::CreateConfigRequest>,
    ) -> Result<Response<v1::CreateConfigResponse>, Status> {
        let config = Some(self.create(request.into_inner()).await?);
        Ok(Response::new(v1::CreateConfigResponse { config }))
    }

    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        Ok(Response::new(self.get(request.into_inner())?))
    }

    async fn list_configs(
        &self,
        request: Request<v1::ListConfigsRequest>,
    ) -> Result<Response<v1::ListConfigsResponse>, Status> {
        Ok(Response::new(self.list(&request.into_inner())?))
    }

    async fn delete_config(
        &self,
        request: Request<v1::DeleteConfigRequest>,
    ) -> Result<Response<v1::DeleteConfigResponse>, Status> {
        Ok(Response::new(self.delete(request.into_inner()).await?))
    }
}
