mod recording;
mod replay;
