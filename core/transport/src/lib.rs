//! NOTE FROM THE LEAD: frame_reader.rs, frame_writer.rs and frame_error.rs are done on `main` (FrameReader, Budget, write_pieces).
//! Merge main (`git checkout core/transport/src/lib.rs && git merge main`) and write only client_connection.rs here.
