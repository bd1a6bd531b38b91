"""2-D convolution of images, with derivatives that are as fast as itself.

A convolution y = x * w, the transpose that takes y back to the size of x, and the gradient of the kernel are the three
partial derivatives of one trilinear form, sum(y . (x * w)). Derivatives of any order and mode are made of these three.
XLA's CPU compiler runs a convolution fast where its dimensions come in one order, and rearranges others to it; but not
inside loops, where those that differentiation makes of a convolution are 50 to 100 times slower. So each of the three
is written in that order here, and JAX is told that they are each other's derivatives. A convolution that nobody
differentiates, such as a sampler's, has a faster form, `winograd`. Other backends are left to JAX.
"""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gen_jax.ops import winograd
from gen_jax.types import Array

_ORDER = ("NHWC", "HWIO", "NHWC")
_EXACT = (jnp.float32, jnp.float64)  # fewer bits would not survive sums of kernels or of images
# Which of three weights in a row meet which of two neighbours, for the first pixel of a pair and for the second.
_PLACES = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)


def convolve(x: Array, w: Array, stride: int = 1) -> Array:
  """x [B, H, W, C], w [k, k, C, D] -> [B, ceil(H / stride), ceil(W / stride), D]: "SAME" padding, w is not flipped."""
  return _pick(_convolve, _undifferentiated_p)(x, w, stride=stride)


@jax.custom_jvp
def enlarged(x: Array, w: Array) -> Array:
  """`convolve` of x twice as large, every pixel a square of 2x2: [B, H, W, C], w [3, 3, C, D] -> [B, 2 H, 2 W, D].

  Where it is differentiated on a CPU it has another form, with less than half of the products: of the nine pixels in a
  window four are different, and so it is a convolution of x with four kernels of 2x2, sums of parts of w, one for each
  place in a square. Where it is not, it leaves that to `winograd`, if that has a form for it.
  """
  return _at_places(x, w) if _sums_kernels(x) and not _has_winograd(x, w) else _repeated(x, w)


@enlarged.defjvp
def _differentiated(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
  return jax.jvp(_at_places if _sums_kernels(primals[0]) else _repeated, primals, tangents)


def _repeated(x: Array, w: Array) -> Array:
  """`enlarged`, as it says."""
  return convolve(x.repeat(2, axis=1).repeat(2, axis=2), w)


def _sums_kernels(x: Array) -> bool:
  return jax.default_backend() == "cpu" and x.dtype in _EXACT


def _at_places(x: Array, w: Array) -> Array:
  """`enlarged` without the larger image."""
  (height, width), features = x.shape[1:3], w.shape[3]
  kernels = jnp.einsum("aik,bjl,klcd->ijcabd", _PLACES, _PLACES, w).reshape(2, 2, w.shape[2], 4 * features)
  y = convolve(jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0))), kernels)
  y = y.reshape(*y.shape[:3], 2, 2, features)  # its windows begin one pixel before the first
  rows = jnp.stack([y[:, a : a + height, :, a] for a in (0, 1)], axis=2)
  places = jnp.stack([rows[:, :, :, b : b + width, b] for b in (0, 1)], axis=4)
  return places.reshape(len(x), 2 * height, 2 * width, features)


def transposed(y: Array, w: Array, size: tuple[int, int], stride: int = 1) -> Array:
  """The transpose of `convolve`: y [B, ceil(H / stride), ceil(W / stride), D], w [k, k, C, D] -> [B, H, W, C].

  Args:
    y: images.
    w: the kernel of the convolution that this is the transpose of.
    size: (H, W).
    stride: of that convolution.
  """
  return _pick(_transposed, _transposed_p)(y, w, size=tuple(size), stride=stride)


def _convolve(x: Array, w: Array, *, stride: int) -> Array:
  if w.shape[:2] == (1, 1) and stride == 1:
    return jnp.einsum("bhwc,cd->bhwd", x, w[0, 0])
  if _is_small(x.shape[1:3], w.shape[:2]):
    matrix, places = _matrix(w, x.shape[1:3], stride), [-(-n // stride) for n in x.shape[1:3]]
    return (x.reshape(-1, len(matrix)) @ matrix).reshape(len(x), *places, w.shape[3])
  return jax.lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=_ORDER)


def _undifferentiated(x: Array, w: Array, *, stride: int) -> Array:
  """`_convolve`; where it is known to be faster, by 1.2 to 1.7 times on a CPU, with up to half the products saved.

  In a training step, where images wait in memory for the way back, it gains 8% at most, and takes longer to compile.
  """
  fits = stride == 1 and _has_winograd(x, w) and not _is_small(x.shape[1:3], w.shape[:2])
  return winograd.convolve(x, w) if fits else _convolve(x, w, stride=stride)


def _has_winograd(x: Array, w: Array) -> bool:
  """Whether `winograd` is for windows of this size, and faster."""
  return w.shape[:2] == (3, 3) and min(w.shape[2:]) >= 64 and x.shape[2] > 2 and x.dtype in _EXACT


def _transposed(y: Array, w: Array, *, size: tuple[int, int], stride: int) -> Array:
  """A convolution of y, spread out with stride - 1 zeros between its pixels, with the kernel turned round."""
  if _is_small(size, w.shape[:2]):
    matrix = _matrix(w, size, stride).T
    return (y.reshape(-1, len(matrix)) @ matrix).reshape(len(y), *size, w.shape[2])
  turned = w[::-1, ::-1].swapaxes(2, 3)
  if stride == 1 and w.shape[0] % 2 == w.shape[1] % 2 == 1:
    return _convolve(y, turned, stride=1)
  padding = []
  for k, n, m in zip(w.shape, size, y.shape[1:3], strict=False):
    before = _before(n, m, k, stride)
    padding.append((k - 1 - before, n + before - (m - 1) * stride - 1))
  spread = (stride, stride)
  if y.shape[1] * y.shape[2] < w.shape[0] * w.shape[1]:  # or XLA takes the smaller for the kernel: ten times slower
    zeros = [(0, 0, 0), *((*p, stride - 1) for p in padding), (0, 0, 0)]
    y = jax.lax.optimization_barrier(jax.lax.pad(y, jnp.zeros((), y.dtype), zeros))
    padding, spread = "VALID", (1, 1)
  return jax.lax.conv_general_dilated(y, turned, (1, 1), padding, lhs_dilation=spread, dimension_numbers=_ORDER)


def _kernel(x: Array, y: Array, *, window: tuple[int, int], stride: int) -> Array:
  """The gradient of sum(y . convolve(x, w)) with respect to w: [*window, C, D].

  A convolution with the roles changed: channels are the batch, and the batch is the channels that are summed over. The
  image with more channels is the kernel, which makes the most of each patch that is read of the other. On CPU this is
  fast with the options of run/compile.py alone.
  """
  if window == (1, 1) and stride == 1:
    return jnp.einsum("bhwc,bhwd->cd", x, y)[None, None]
  if stride == 1 and window[0] % 2 == window[1] % 2 == 1 and x.shape[-1] > y.shape[-1]:
    return _correlated(_channels_first(y), x, window, stride)[::-1, ::-1].swapaxes(2, 3)
  return _correlated(x.transpose(3, 1, 2, 0), y, window, stride)


def _correlated(x: Array, y: Array, window: tuple[int, int], stride: int) -> Array:
  """x [C, H, W, B], y [B, H / stride, W / stride, D] -> [*window, C, D]: sums over images, for places in a window."""
  padding = []
  for k, n, m in zip(window, x.shape[1:3], y.shape[1:3], strict=True):
    before = _before(n, m, k, stride)
    padding.append((before, (m - 1) * stride + k - n - before))
  y, spread = y.transpose(1, 2, 0, 3), (stride, stride)
  w = jax.lax.conv_general_dilated(x, y, (1, 1), padding, rhs_dilation=spread, dimension_numbers=_ORDER)
  return w.transpose(1, 2, 0, 3)


def _is_small(size: tuple[int, int], window: tuple[int, int]) -> bool:
  """Whether images have fewer pixels than a window.

  XLA's CPU compiler then takes the image for the kernel, in an order of dimensions that its library does not know: 10
  to 30 times slower, for batches of 64, than a product with `_matrix`. For the gradient of the kernel it does not.
  """
  return jax.default_backend() == "cpu" and size[0] * size[1] < window[0] * window[1]


def _matrix(w: Array, size: tuple[int, int], stride: int) -> Array:
  """What `convolve` with w [k, k, C, D] does to images of this size, as a matrix [H W C, H / stride W / stride D].

  Along either axis, the k weights become those of each of n pixels in each of m windows.
  """
  for i, n in enumerate(size):
    axis, m = 2 * i, -(-n // stride)
    k, last = w.shape[axis], stride * (m - 1)
    before = _before(n, m, k, stride)
    padding = [(last - before, n + before - k, 0) if a == axis else (0, 0, 0) for a in range(w.ndim)]
    w = jax.lax.pad(w, jnp.zeros((), w.dtype), padding)
    rows = [jax.lax.slice_in_dim(w, start, start + n, axis=axis) for start in range(last, -1, -stride)]
    w = jnp.stack(rows, axis=axis)  # at last [H / stride, H, W / stride, W, C, D]
  return w.transpose(1, 3, 4, 0, 2, 5).reshape(size[0] * size[1] * w.shape[4], -1)


def _channels_first(x: Array) -> Array:
  """[B, H, W, C] -> [C, H, W, B], as a product with the identity, before which x has to be computed.

  XLA would compute a cotangent of elementwise functions anew in the loop that transposes it, against the order of the
  memory: four to seven times slower. What is infinite in one channel is no number in any.
  """
  batch, height, width, channels = x.shape
  pixels = x.transpose(1, 2, 0, 3).reshape(-1, channels)
  return (jnp.eye(channels, dtype=x.dtype) @ pixels.T).reshape(channels, height, width, batch)


def _before(n: int, m: int, k: int, stride: int) -> int:
  """The zeros that "SAME" puts before n pixels for m windows of k."""
  return max((m - 1) * stride + k - n, 0) // 2


def _pick(plain: Callable, primitive: Primitive) -> Callable:
  return primitive.bind if jax.default_backend() == "cpu" else plain


def _primitive(name: str, fn: Callable, batched: Callable | None = None) -> Primitive:
  """What JAX has to know of a convolution, but for its derivatives; a batch of them is `batched`, or else `fn`."""
  primitive = Primitive(name)
  compiled = jax.jit(fn, static_argnames=inspect.getfullargspec(fn).kwonlyargs)  # traced once for each size
  primitive.def_impl(compiled)
  primitive.def_abstract_eval(lambda *args, **static: jax.core.ShapedArray(*_shape(compiled, args, static)))
  mlir.register_lowering(primitive, mlir.lower_fun(fn, multiple_results=False))

  def batch(args, axes, **static):
    return jax.vmap(lambda *args: (batched or fn)(*args, **static), axes)(*args), 0

  batching.primitive_batchers[primitive] = batch
  return primitive


def _shape(compiled, args, static):
  out = compiled.eval_shape(*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in args), **static)
  return out.shape, out.dtype


_undifferentiated_p = _primitive("convolve_undifferentiated", _undifferentiated, batched=_convolve)
_convolve_p = _primitive("convolve", _convolve)
_transposed_p = _primitive("convolve_transposed", _transposed)
_kernel_p = _primitive("convolve_kernel", _kernel)

# Each is linear in either argument; these take the cotangent of its output to that of one argument, given the other.
ad.defbilinear(
  _convolve_p,
  lambda g, x, w, *, stride: _transposed_p.bind(g, w, size=x.aval.shape[1:3], stride=stride),
  lambda g, x, w, *, stride: _kernel_p.bind(x, g, window=w.aval.shape[:2], stride=stride),
)
ad.defbilinear(
  _transposed_p,
  lambda g, y, w, *, size, stride: _convolve_p.bind(g, w, stride=stride),
  lambda g, y, w, *, size, stride: _kernel_p.bind(g, y, window=w.aval.shape[:2], stride=stride),
)
ad.defbilinear(
  _kernel_p,
  lambda g, x, y, *, window, stride: _transposed_p.bind(y, g, size=x.aval.shape[1:3], stride=stride),
  lambda g, x, y, *, window, stride: _convolve_p.bind(x, g, stride=stride),
)

# Once it is differentiated it is the first of the three.
for rules in (ad.primitive_jvps, ad.primitive_transposes):
  rules[_undifferentiated_p] = rules[_convolve_p]
