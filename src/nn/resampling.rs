//! The layers that double and halve an image in the residual nets. They have no parameters.

use super::layer::{Layer, Mode, Pass};
use super::operation::Operation;
use crate::Result;
use crate::device::{Out, Stored, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::avg_pool2d::AvgPool2d;
use crate::ops::layers::upsample2d::Upsample2d;

/// Average pooling k3 s2 p1: halves the image. The number of images is filled in at each pass.
pub struct AvgPoolLayer(pub AvgPool2d);

/// Upsampling to the nearest pixel: doubles the image. The number of images is filled in at each pass.
pub struct UpsampleLayer(pub Upsample2d);

impl<B: Executor> Layer<B> for AvgPoolLayer {
    fn describe(&self) -> String {
        let AvgPool2d { h, w, c, .. } = self.0;
        format!("avg_pool2d {h}x{w}x{c} 3x3 stride2 pad1")
    }
    fn x_len(&self) -> usize {
        AvgPool2d { n: 1, ..self.0 }.x_len()
    }
    fn y_len(&self) -> usize {
        AvgPool2d { n: 1, ..self.0 }.y_len()
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        _: Mode,
        _: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.avg_pool2d_forward(&AvgPool2d { n: pass.n, ..self.0 }, x, y)
    }
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        _y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        _: Option<Out<'_, B>>,
    ) -> Result<()> {
        let d = AvgPool2d { n: pass.n, ..self.0 };
        dx.map_or(Ok(()), |dx| pass.backend.avg_pool2d_backward_input(&d, dy, dx))
    }
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        _: Stored<'_, B>,
        _: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.avg_pool2d_forward(&AvgPool2d { n: pass.n, ..self.0 }, vx, vy)
    }
}

impl<B: Executor> Layer<B> for UpsampleLayer {
    fn describe(&self) -> String {
        let Upsample2d { h, w, c, .. } = self.0;
        format!("upsample2d {h}x{w}x{c}")
    }
    fn x_len(&self) -> usize {
        Upsample2d { n: 1, ..self.0 }.x_len()
    }
    fn y_len(&self) -> usize {
        Upsample2d { n: 1, ..self.0 }.y_len()
    }
    fn operations(&self) -> Option<Vec<Operation>> {
        Some(vec![Operation::Upsample2d(self.0)])
    }
    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        _: Mode,
        _: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.upsample2d_forward(&Upsample2d { n: pass.n, ..self.0 }, x, y)
    }
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        _x: Stored<'_, B>,
        _y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        _: Option<Out<'_, B>>,
    ) -> Result<()> {
        let d = Upsample2d { n: pass.n, ..self.0 };
        dx.map_or(Ok(()), |dx| pass.backend.upsample2d_backward_input(&d, dy, dx))
    }
    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        _: Stored<'_, B>,
        _: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        pass.backend.upsample2d_forward(&Upsample2d { n: pass.n, ..self.0 }, vx, vy)
    }
}
