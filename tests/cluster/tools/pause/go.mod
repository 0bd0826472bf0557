module whisper.test/pause

go 1.26
