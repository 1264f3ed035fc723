//! One table of the Python names that Rust uses.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

/// An object of a Python module, imported on first use and kept.
pub struct Imported {
    module: &'static str,
    name: &'static str,
    value: PyOnceLock<Py<PyAny>>,
}

impl Imported {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Imported {
            module,
            name,
            value: PyOnceLock::new(),
        }
    }

    /// The object. Errors: those of importing its module.
    #[inline]
    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.value
            .get_or_try_init(py, || {
                Ok(py.import(self.module)?.getattr(self.name)?.unbind())
            })
            .map(|value| value.bind(py).clone())
    }

    /// Whether the object is the class of `object`, which is no subclass's.
    #[inline]
    pub fn is_class_of(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = object.py();
        let address = match self.value.get(py) {
            Some(value) => value.as_ptr(),
            None => self.get(py)?.as_ptr(),
        };
        Ok(object.get_type_ptr().cast() == address)
    }
}

macro_rules! imported {
    ($($(#[$meta:meta])* $constant:ident = $module:literal, $name:literal;)*) => {
        $($(#[$meta])* pub static $constant: Imported = Imported::new($module, $name);)*
    };
}

imported! {
    ASYNCIO_FUTURE = "asyncio", "Future";
    ASYNCIO_HANDLE = "asyncio", "Handle";
    ASYNCIO_TIMER_HANDLE = "asyncio", "TimerHandle";
    /// A subclass of `asyncio.Transport`, and what `loop.sendfile()` tests for.
    ASYNCIO_TRANSPORT = "asyncio.transports", "_FlowControlMixin";
    UNIX_READ_PIPE = "asyncio.unix_events", "_UnixReadPipeTransport";
    UNIX_WRITE_PIPE = "asyncio.unix_events", "_UnixWritePipeTransport";
    ASYNCIO_BUFFERED_PROTOCOL = "asyncio", "BufferedProtocol";
    ASYNCIO_TLS_TRANSPORT = "asyncio.sslproto", "_SSLProtocolTransport";
    SSL_ERROR = "ssl", "SSLError";
    SSL_MEMORY_BIO = "ssl", "MemoryBIO";
    SSL_SYSCALL = "ssl", "SSLSyscallError";
    SSL_WANT_READ = "ssl", "SSLWantReadError";
    SSL_ZERO_RETURN = "ssl", "SSLZeroReturnError";
    /// `(bytes, bytearray, memoryview)`, what asyncio's write accepts.
    BYTES_LIKE = "interloop._loop.native", "BYTES_LIKE";
    MEMORYVIEW = "builtins", "memoryview";
    /// `sys.modules`.
    MODULES = "sys", "modules";
    SOCKET = "socket", "socket";
    SOCKET_FILENO = "interloop._loop.native", "socket_fileno";
    STREAM_READER = "asyncio", "StreamReader";
    STREAM_READER_PROTOCOL = "asyncio", "StreamReaderProtocol";
    STREAM_WRITER = "asyncio", "StreamWriter";
    NATIVE_READER = "interloop._loop.streams", "Reader";
    NATIVE_READER_PROTOCOL = "interloop._loop.streams", "ReaderProtocol";
    /// How many attributes a new reader has, and a new protocol.
    PLAIN_STREAMS = "interloop._loop.streams", "PLAIN";
    /// Gives a protocol of asyncio's streams the methods that are native.
    ADOPT_STREAM = "interloop._loop.streams", "adopt";
    STREAM_AGAIN = "interloop._loop.streams", "again";
    /// The interpreter's own tasks.
    NATIVE_TASK = "_asyncio", "Task";
    /// One of the interpreter's own futures, of no loop, that has ended with None.
    FINISHED_FUTURE = "interloop._loop.native", "FINISHED_FUTURE";
    DEQUE = "collections", "deque";
    /// A subclass of `asyncio.Transport` and of `asyncio.DatagramTransport`.
    DATAGRAM_TRANSPORT = "interloop._loop.native", "DatagramFace";
    DATAGRAM_EXTRA = "interloop._loop.native", "datagram_extra";
    CANCELLED_ERROR = "asyncio", "CancelledError";
    INVALID_STATE_ERROR = "asyncio", "InvalidStateError";
    /// Refuses `ssl.SSLSocket`.
    CHECK_SSL_SOCKET = "asyncio.base_events", "_check_ssl_socket";
    /// Methods of `asyncio.Server` as they are in asyncio.
    SERVER_ATTACH = "interloop._loop.native", "SERVER_ATTACH";
    SERVER_DETACH = "interloop._loop.native", "SERVER_DETACH";
    SET_RESULT_UNLESS_CANCELLED = "asyncio.futures", "_set_result_unless_cancelled";
    // What Rust asks of Python once per rare event; see interloop._loop.native.
    REPORT_CALLBACK = "interloop._loop.native", "report_callback";
    REPORT_FATAL = "interloop._loop.native", "report_fatal";
    REPORT_PROTOCOL = "interloop._loop.native", "report_protocol";
    REPORT_ACCEPT = "interloop._loop.native", "report_accept";
    REPORT_TRANSPORT = "interloop._loop.native", "report_transport";
    REPORT_PORT = "interloop._loop.native", "report_port";
    REPORT_OPERATION = "interloop._loop.native", "report_operation";
    RESOLUTION = "interloop._loop.native", "resolution";
    SOCKET_ERROR = "interloop._loop.native", "socket_error";
    REPORT_SLOW = "interloop._loop.native", "report_slow";
    SOURCE_TRACEBACK = "interloop._loop.native", "source_traceback";
    HANDLE_REPR = "interloop._loop.native", "handle_repr";
    TRANSPORT_REPR = "interloop._loop.native", "transport_repr";
    SENDFILE_FALLBACK = "interloop._loop.sendfile", "FALLBACK";
    SENDFILE_TRY_NATIVE = "interloop._loop.sendfile", "TRY_NATIVE";
    SENDFILE_ERROR = "interloop._loop.sendfile", "error";
    SENDFILE_FAILED = "interloop._loop.sendfile", "failed";
    TRANSPORT_EXTRA = "interloop._loop.native", "transport_extra";
    // What Twisted's face asks of its Python half.
    TWISTED_LOG_CONTEXT = "interloop.twisted.connections", "log_context";
    TWISTED_LOG_INTERFACE = "twisted.python.log", "ILogContext";
    TWISTED_DATA_FAILED = "interloop.twisted.connections", "data_failed";
    TWISTED_RESUME_PRODUCER = "interloop.twisted.connections", "resume_producer";
    TWISTED_END_WRITING = "interloop.twisted.connections", "end_writing";
    TWISTED_LINE_RECEIVER = "interloop.twisted.lines", "LineReceiver";
    TWISTED_LINE_DATA_RECEIVED = "interloop.twisted.lines", "data_received";
    TWISTED_HTTP_CHANNEL = "interloop.twisted.http", "HTTPChannel";
    TWISTED_HTTP_CHANNEL_DATA_RECEIVED = "interloop.twisted.http", "channel_data_received";
    TWISTED_HTTP_FRONT = "interloop.twisted.http", "Front";
    TWISTED_HTTP_FRONT_DATA_RECEIVED = "interloop.twisted.http", "front_data_received";
    TWISTED_DELAYED_CALL = "twisted.internet.base", "DelayedCall";
    TWISTED_CALL_FAILED = "interloop.twisted.timers", "call_failed";
    TWISTED_THREAD_CALL_FAILED = "interloop.twisted.threads", "call_failed";
    /// Where a call was made: for debug mode.
    TWISTED_CREATOR = "interloop.twisted.timers", "creator";
    /// `time.time`, unless somebody had replaced it.
    TWISTED_WALL_CLOCK = "interloop.twisted.timers", "WALL_CLOCK";
    ALREADY_CALLED = "twisted.internet.error", "AlreadyCalled";
    ALREADY_CANCELLED = "twisted.internet.error", "AlreadyCancelled";
    TWISTED_HALF_CLOSED = "interloop.twisted.connections", "half_closed";
    TWISTED_CLOSE_SOCKET = "interloop.twisted.connections", "close_socket";
    TWISTED_FAILED = "interloop.twisted.connections", "failed";
    /// The Failures that all connections share.
    TWISTED_CONNECTION_DONE = "interloop.twisted.connections", "DONE";
    TWISTED_CONNECTION_LOST = "interloop.twisted.connections", "LOST";
    TWISTED_CONNECTION_ABORTED = "twisted.internet.error", "ConnectionAborted";
    TWISTED_HALF_CLOSEABLE = "twisted.internet.interfaces", "IHalfCloseableProtocol";
    TWISTED_PROTOCOL = "twisted.internet.protocol", "Protocol";
    TWISTED_ADAPTERS = "twisted.python.components", "globalRegistry";
    ZOPE_ADAPTER_HOOKS = "zope.interface.interface", "adapter_hooks";
    ZOPE_PROVIDED_BY = "zope.interface", "providedBy";
    TWISTED_SERVER = "interloop.twisted.connections", "Server";
    TWISTED_UNIX_SERVER = "interloop.twisted.unix", "Server";
    TWISTED_BESIDE = "interloop.twisted.unix", "beside";
    TWISTED_OVERRUN = "interloop.twisted.unix", "overrun";
    TWISTED_IPV4 = "twisted.internet.address", "IPv4Address";
    TWISTED_IPV6 = "twisted.internet.address", "IPv6Address";
    TWISTED_ACCEPT = "interloop.twisted.ports", "accept";
    TWISTED_ACCEPT_FAILED = "interloop.twisted.ports", "accept_failed";
    TWISTED_CANNOT_ACCEPT = "interloop.twisted.ports", "cannot_accept";
    TWISTED_FILL_FAILED = "interloop.twisted.connections", "fill_failed";
    PYOPENSSL_WANT_READ = "OpenSSL.SSL", "WantReadError";
    RE_COMPILE = "re", "compile";
    TORNADO_STREAM_CLOSED = "tornado.iostream", "StreamClosedError";
    TORNADO_UNSATISFIABLE = "tornado.iostream", "UnsatisfiableReadError";
    TORNADO_BUFFER_FULL = "tornado.iostream", "StreamBufferFullError";
    // What Tornado's face asks of its Python half.
    TORNADO_RUN = "interloop._core", "run_callback";
    /// `IOLoop._run_callback` as it is in Tornado.
    TORNADO_RUN_CALLBACK = "interloop.tornado.ioloop", "RUN_CALLBACK";
    TORNADO_ADD_CALLBACK = "interloop.tornado.ioloop", "add_callback_slowly";
    TORNADO_FINISH_CALLBACK = "interloop.tornado.ioloop", "finish_callback";
    TORNADO_NOT_FOUND = "interloop.tornado.streams", "not_found";
    TORNADO_GIVE_UP = "interloop.tornado.streams", "give_up";
    TORNADO_READ_FAILED = "interloop.tornado.streams", "read_failed";
    TORNADO_READ_TOO_MUCH = "interloop.tornado.streams", "read_too_much";
    TORNADO_WRITE_FAILED = "interloop.tornado.streams", "write_failed";
    TORNADO_REGISTER_FAILED = "interloop.tornado.streams", "register_failed";
    TORNADO_UNCAUGHT = "interloop.tornado.streams", "uncaught";
    /// `WebSocketProtocol13._read_bytes` as it is in Tornado.
    TORNADO_READ_BYTES = "interloop.tornado.websockets", "READ_BYTES";
    TORNADO_TAKE_PYTHON_PATH = "interloop.tornado.streams", "take_python_path";
    // What awaiting across the hosts asks of its Python half.
    ASYNCIO_TASK = "asyncio", "Task";
    TASK_GET_STACK = "asyncio.base_tasks", "_task_get_stack";
    TASK_PRINT_STACK = "asyncio.base_tasks", "_task_print_stack";
    ASYNCIO_IS_COROUTINE = "asyncio", "iscoroutine";
    GENERATOR = "types", "GeneratorType";
    GET_RUNNING_LOOP = "asyncio", "_get_running_loop";
    TWISTED_DEFERRED = "twisted.internet.defer", "Deferred";
    /// An empty dict, for callbacks without keyword arguments: Twisted unpacks it.
    NO_KEYWORDS = "interloop.twisted.awaiting", "NO_KEYWORDS";
    TWISTED_DEFERREDS = "twisted.internet.defer", "_DEFERRED_SUBCLASSES";
    TWISTED_FAILURE = "twisted.python.failure", "Failure";
    TWISTED_CANCEL = "interloop.twisted.awaiting", "cancel";
    TWISTED_END = "interloop.twisted.awaiting", "end";
    TWISTED_IS_CANCELLATION = "interloop.twisted.awaiting", "is_cancellation";
    TWISTED_OUTCOME = "interloop.twisted.awaiting", "outcome";
    TWISTED_RAISED = "interloop.twisted.awaiting", "raised";
    TWISTED_SPAWN = "interloop.twisted.awaiting", "spawn";
    TWISTED_THROWN = "interloop.twisted.awaiting", "thrown";
    TWISTED_TASK_NAME = "interloop.twisted.awaiting", "task_name";
    TWISTED_TASK_WAIT = "interloop.twisted.awaiting", "wait";
    TWISTED_TASK_REPR = "interloop.twisted.awaiting", "task_repr";
    WARN_WRITE = "interloop._loop.native", "warn_write";
    REPORT_PIPE_CALLBACK = "interloop._loop.pipes", "report_callback";
    REPORT_PIPE_ERROR = "interloop._loop.pipes", "report_error";
    PIPE_REPR = "interloop._loop.pipes", "pipe_repr";
    LOG_PIPE = "interloop._loop.pipes", "log_debug";
    LOG_PIPE_CLOSED = "interloop._loop.pipes", "log_closed_by_peer";
    WARN_PIPE_WRITE = "interloop._loop.pipes", "warn_write";
    ABANDON_PIPE = "interloop._loop.pipes", "abandon";
    // The same for TLS; see interloop._loop.tls.
    TLS_EXTRA = "interloop._loop.tls", "extra";
    TLS_HANDSHAKE_FAILED = "interloop._loop.tls", "handshake_failed";
    TLS_HANDSHAKE_TIMEOUT = "interloop._loop.tls", "handshake_timeout";
    TLS_REPORT = "interloop._loop.tls", "report";
    TLS_SETTINGS = "interloop._loop.tls", "settings";
    TLS_STARTS = "interloop._loop.tls", "starts";
    TLS_TOOK = "interloop._loop.tls", "took";
    TLS_VIEW = "interloop._loop.tls", "SSLProtocolView";
    TLS_WAKE = "interloop._loop.tls", "wake";
    TLS_WARN_EOF = "interloop._loop.tls", "warn_eof";
    TLS_WARN_WRITE = "interloop._loop.tls", "warn_write";
    WARN_UNCLOSED = "interloop._loop.native", "warn_unclosed";
}

/// A tuple of one keyword, for calls by vector.
pub struct Keyword {
    name: &'static str,
    value: PyOnceLock<Py<PyTuple>>,
}

impl Keyword {
    /// The tuple.
    #[inline]
    pub fn get<'a, 'py>(&'a self, py: Python<'py>) -> PyResult<&'a Bound<'py, PyTuple>> {
        self.value
            .get_or_try_init(py, || {
                let name = PyString::intern(py, self.name);
                Ok(PyTuple::new(py, [name])?.unbind())
            })
            .map(|value| value.bind(py))
    }
}

pub static LOOP_KEYWORD: Keyword = Keyword {
    name: "loop",
    value: PyOnceLock::new(),
};
